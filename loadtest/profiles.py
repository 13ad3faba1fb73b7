"""Known loads; any option of a plan changes one."""

from typing import Any

PROFILES: dict[str, dict[str, Any]] = {
    # The original's load: everybody in one room, a message a second of 50 characters for 20 s, then leave.
    "seed": {"users": 100, "rooms": 1, "ramp": 5, "seconds": 20, "rate": 1, "length": 50},
    # 30 classes of 30 pupils.
    "classroom": {"users": 900, "rooms": 30, "ramp": 15, "seconds": 30, "rate": 0.5, "length": 50},
    # One room as large as it goes: with --find-max.
    "stadium": {"users": 500, "rooms": 1, "ramp": 10, "seconds": 20, "rate": 1, "length": 50},
    # 1,000 people in 200 rooms of very different sizes; few talk much, some read slowly, some come and go.
    "office": {"users": 1000, "rooms": 200, "ramp": 20, "seconds": 30, "rate": 0.1, "length": 32, "longest": 500,
               "zipf": 1.0, "follow": True, "memberships": 5, "slow": 0.02, "comers": 0.05},
    # All sockets are cut at once while all talk.
    "storm": {"users": 1000, "rooms": 20, "ramp": 15, "seconds": 30, "rate": 0.2, "length": 50, "storm": 10},
    # Sockets that say nothing; memory and CPU of the server are what counts.
    "idle": {"users": 2000, "rooms": 100, "ramp": 30, "seconds": 30, "rate": 0, "length": 50},
}  # fmt: skip

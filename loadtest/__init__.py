"""Load on a running chat, with every receipt checked. Of the server it knows the addresses and the protocol; accounts,
rooms and tokens are handed in, and the ids of processes that are to be watched."""

from loadtest.outcome import Outcome
from loadtest.plan import Plan, Seat
from loadtest.profiles import PROFILES
from loadtest.run import Run, run_plan
from loadtest.server import Sampler
from loadtest.verdict import Limits, faults, violations, weaknesses

__all__ = [
    "PROFILES", "Limits", "Outcome", "Plan", "Run", "Sampler", "Seat", "faults", "run_plan", "violations", "weaknesses",
]  # fmt: skip

"""The options of the command line: what makes a plan, and what is let pass."""

from argparse import ArgumentParser
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from loadtest.plan import Plan
from loadtest.profiles import PROFILES
from loadtest.verdict import MOST_LAG, Limits

DEFAULTS: dict[str, Any] = {"users": 10, "rooms": 1, "ramp": 2, "seconds": 10, "rate": 1, "length": 50}

# Field of `Plan` → what the option says.
PLAN = {
    "users": "how many",
    "rooms": "the users are dealt out to so many",
    "seconds": "in which all talk",
    "ramp": "seconds in which the users join one after the other",
    "rate": "messages a second and user; 0: sockets that stay idle",
    "length": "characters of a message",
    "longest": "messages have LENGTH up to so many characters",
    "zipf": "exponent of Zipf's law for the sizes of rooms and the rates of users; 1 is a usual crowd",
    "slow": "share of the users who read a tenth of the time (0.1 is every tenth user)",
    "deaf": "share of the users who get into their room and then never read",
    "comers": "share of the users who leave and join all the time",
    "storm": "cut all sockets at once so many seconds after the ramp",
    "creations": "rooms a second that are created while all talk; needs --follow",
    "memberships": "rooms in which each user is a member; it sees one of them",
}
# Field of `Limits` → what the option says.
LIMITS = {
    "lost": "missing receipts",
    "twice": "repeated messages",
    "out_of_order": "messages out of order",
    "foreign": "messages of nobody in this run",
    "unacknowledged": "messages without an acknowledgement",
    "gaps": "gaps that the server tells of",
    "errors": "whatever else fails",
    "p50": "milliseconds of delivery",
    "p99": "milliseconds of delivery",
    "storage_lag": "seconds that a message waits to be stored",
    "late": "percent of the sends that the generator may make late",
    "lag": "milliseconds (p99) by which its event loops may lag",
    "cpu": "percent of a core that its busiest worker may take",
}
SHOWN = {"lag": f"{MOST_LAG:g}, or half of --max-p99"}


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--profile", choices=sorted(PROFILES), help="a known load; other options change it")
    kinds = {field.name: field.type for field in fields(Plan)}
    for name, said in PLAN.items():
        parser.add_argument(f"--{name}", type=int if kinds[name] in (int, "int") else float, help=said)
    parser.add_argument("--follow", action="store_true", default=None, help="all follow the room list")
    allowed = parser.add_argument_group("limits", "The exit status is 1 when one of them is passed.")
    for name, said in LIMITS.items():
        default = getattr(Limits, name)
        shown = SHOWN.get(name, "any") if default is None else f"{default:g}"
        allowed.add_argument(
            f"--max-{name.replace('_', '-')}", type=int if isinstance(default, int) else float, default=default,
            help=f"{said} (default: {shown})",
        )  # fmt: skip


def read_plan(options: Mapping[str, Any], *, run: str) -> Plan:
    """Raises `ValueError` for a plan that cannot be."""
    values: dict[str, Any] = {**DEFAULTS, **PROFILES.get(options["profile"], {})}
    values |= {name: options[name] for name in (*PLAN, "follow") if options[name] is not None}
    return Plan(run=run, **values)


def read_limits(options: Mapping[str, Any]) -> Limits:
    return Limits(**{name: options[f"max_{name}"] for name in LIMITS})

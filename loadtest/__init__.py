"""Load on a running chat, with every receipt checked. Of the server it knows the addresses and the protocol; accounts,
rooms and tokens are handed in."""

from loadtest.outcome import Outcome
from loadtest.plan import PROFILES, Plan, Seat
from loadtest.report import render, violations
from loadtest.run import run_plan

__all__ = ["PROFILES", "Outcome", "Plan", "Seat", "render", "run_plan", "violations"]

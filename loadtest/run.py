"""A plan from its beginning to its outcome."""

import asyncio
from collections.abc import Sequence
from time import monotonic

from loadtest.outcome import Outcome
from loadtest.plan import Plan, Seat
from loadtest.worker import Share, Show, run_share


def run_plan(plan: Plan, seats: Sequence[Seat], urls: Sequence[str], *, show: Show) -> Outcome:
    """Run a plan against a chat at `urls`, whose accounts and memberships are there. `show` is told the progress once a
    second."""
    share = Share(plan, urls, seats, {seat.user: seat.name for seat in seats}, zero=monotonic())
    outcome = Outcome()
    for part in [asyncio.run(run_share(share, show))]:
        outcome.add(part)
    return outcome

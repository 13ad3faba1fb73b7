"""A plan from its beginning to its outcome."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from time import monotonic

from loadtest.crew import Crew, hire
from loadtest.outcome import Outcome
from loadtest.plan import Plan, Seat
from loadtest.server import Sampler
from loadtest.timeline import Second, Timeline
from loadtest.worker import Share

# Users for whom one more worker is worth its start.
FEWEST = 50


@dataclass
class Run:
    """What a run came to. `workers`: processes of the generator."""

    plan: Plan
    workers: int
    outcome: Outcome
    timeline: Timeline


def run_plan(
    plan: Plan,
    seats: Sequence[Seat],
    urls: Sequence[str],
    *,
    workers: int | None = None,
    show: Callable[[str, Second], None],
    sampler: Sampler,
) -> Run:
    """Run a plan against a chat at `urls`, whose accounts and memberships are there, with so many workers (None:
    one for each core but one). `show` is told the phase and the counts each second. Raises `WorkerFailed`."""
    if workers is None:
        workers = min((os.cpu_count() or 1) - 1, ceil(plan.users / FEWEST))
    workers = max(1, min(workers, plan.users))
    names = {seat.user: seat.name for seat in seats}
    shares = [Share(plan, urls, seats[worker::workers], names, worker, workers) for worker in range(workers)]
    timeline = Timeline(plan, workers)
    with hire(shares) as crew:
        sampler.begin(timeline)
        _follow(crew, crew.begin(), timeline, sampler, show)
        outcome = Outcome()
        for part in crew.outcomes:
            outcome.add(part)
    outcome.judge(plan)
    return Run(plan, workers, outcome, timeline)


def _follow(crew: Crew, zero: float, timeline: Timeline, sampler: Sampler, show: Callable[[str, Second], None]) -> None:
    """Listen to the workers to their end, and look at the server once a second."""
    looked = 0
    while not crew.is_done:
        now = monotonic() - zero
        if now >= looked + 1:
            looked = int(now)
            sampler.look(timeline.at(looked))
        for progress in crew.listen(max(0.05, looked + 1 - now)):
            if (second := timeline.note(progress)) is not None:
                show(timeline.phase(second), second)

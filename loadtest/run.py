"""A plan from its beginning to its outcome."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

from loadtest.crew import hire
from loadtest.outcome import Outcome
from loadtest.plan import Plan, Seat
from loadtest.server import STORAGE_LAG, Sampler
from loadtest.timeline import Second, Timeline
from loadtest.worker import Share

# Users for whom one more worker is worth its start.
FEWEST = 50
PATIENCE = 1.0  # seconds between two looks whether the workers are done


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
        with sampler.looking(timeline, crew.begin()):
            while not crew.is_done:
                for progress in crew.listen(PATIENCE):
                    if (second := timeline.note(progress)) is not None:
                        show(timeline.phase(second), second)
        outcome = Outcome()
        for part in crew.outcomes:
            outcome.add(part)
    outcome.judge(plan)
    outcome.storage_lag = _storage_lag(plan, timeline)
    return Run(plan, workers, outcome, timeline)


def _storage_lag(plan: Plan, timeline: Timeline) -> float | None:
    """How many seconds' messages waited at most to be stored, while all talked."""
    steady = [second for second in timeline.in_order() if timeline.phase(second) == "steady"]
    waiting = [second.metrics[STORAGE_LAG] for second in steady if STORAGE_LAG in second.metrics]
    return max(waiting) / plan.messages_a_second if waiting and plan.rate else None

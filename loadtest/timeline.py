"""A run second by second, from what the workers tell."""

from collections import Counter
from dataclasses import dataclass, field

from loadtest.latencies import Latencies
from loadtest.plan import Plan
from loadtest.progress import Progress


@dataclass
class Second:
    """Counts are since the beginning, over all workers; the delivery is that of this second."""

    second: int
    workers: dict[int, Progress] = field(default_factory=dict)
    # Process of the server → (share of a core, resident bytes); metric → its value.
    processes: dict[str, tuple[float, int]] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    # Percentile → seconds; empty when nothing was measured.
    delivery: dict[float, float] = field(default_factory=dict)

    def total(self, name: str) -> int:
        return sum(getattr(progress, name) for progress in self.workers.values())

    def sum_up(self) -> None:
        """Find the percentiles, and keep no more: a second may have ten thousand different latencies."""
        ticks: Counter[int] = Counter()
        for worker, progress in self.workers.items():
            ticks.update(progress.ticks)
            self.workers[worker] = progress._replace(ticks={})
        if ticks:
            latencies = Latencies()
            latencies.record_ticks(ticks)
            self.delivery = {percentile: latencies.at(percentile) for percentile in (50, 99, 100)}

    @property
    def lag(self) -> float:
        return max((progress.lag for progress in self.workers.values()), default=0.0)


class Timeline:
    def __init__(self, plan: Plan, workers: int) -> None:
        self._plan = plan
        self._workers = workers
        self._seconds: dict[int, Second] = {}
        # Process of the server → resident bytes before the first user connected.
        self.before: dict[str, int] = {}

    def in_order(self) -> list[Second]:
        """Those that all workers have told of."""
        full = (second for second in self._seconds.values() if len(second.workers) == self._workers)
        return sorted(full, key=lambda second: second.second)

    def at(self, second: int) -> Second:
        return self._seconds.setdefault(second, Second(second))

    def note(self, progress: Progress) -> Second | None:
        """Take what a worker tells; return the second when all workers have told of it."""
        second = self.at(progress.second)
        second.workers[progress.worker] = progress
        if len(second.workers) < self._workers:
            return None
        second.sum_up()
        return second

    def phase(self, second: Second) -> str:
        """Of the second that ends there."""
        if second.second <= self._plan.steady_from:
            return "ramp"
        return "steady" if second.second <= self._plan.end else "drain"

"""Latencies of receipts, counted for each batch and tick instead of each receipt."""

from collections import defaultdict

from loadtest.roomlog import Batch


class Deliveries:
    """A batch has many receivers at nearly the same time: those of one tick are multiplied by the batch's messages."""

    def __init__(self) -> None:
        self._counts: defaultdict[int, int] = defaultdict(int)
        # Batches with receivers that are not counted yet.
        self._open: list[Batch] = []

    def note(self, batch: Batch, tick: int) -> None:
        """A receiver was shown the batch at this time of the plan."""
        if batch.tick == tick and batch.pending:
            batch.pending += 1
            return
        if batch.pending:
            self._count(batch)
        else:
            self._open.append(batch)
        batch.tick = tick
        batch.pending = 1

    def take(self) -> dict[int, int]:
        """Latency in ticks → how often since the last call."""
        for batch in self._open:
            self._count(batch)
            batch.pending = 0
        self._open.clear()
        counts = dict(self._counts)
        self._counts.clear()
        return counts

    def _count(self, batch: Batch) -> None:
        counts, tick, receivers = self._counts, batch.tick, batch.pending
        for due in batch.due:
            counts[tick - due] += receivers

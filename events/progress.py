"""Whether the event consumer gets on: the loop writes down where it stands, the watchdog and the probe read it."""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from threading import Lock
from time import monotonic

# Topic and partition.
Place = tuple[str, int]


@dataclass(slots=True)
class Standing:
    """One partition of this process. `end`: the log's, None until it was measured."""

    next_offset: int
    # Monotonic seconds: when it last moved, or was found to have nothing to do.
    moved_at: float
    end: int | None = None
    # Why it stands still although no service is away.
    stopped: str | None = None

    @property
    def lag(self) -> int:
        return max(0, (self.end or 0) - self.next_offset)


class Progress:
    """Usable from any thread. `patience`: seconds without progress that are not worth an alarm."""

    def __init__(self, *, patience: float = 30.0) -> None:
        self._patience = patience
        self._lock = Lock()
        self._standings: dict[Place, Standing] = {}
        self._turned_at = self._measured_at = monotonic()

    # Of the loop

    def turn(self) -> None:
        """The loop is alive."""
        self._turned_at = monotonic()

    def begin(self, place: Place, next_offset: int) -> None:
        """A partition was assigned, or is read anew from this offset."""
        with self._lock:
            self._standings[place] = Standing(next_offset, monotonic())

    def end(self, place: Place) -> None:
        """A partition belongs to somebody else now."""
        with self._lock:
            self._standings.pop(place, None)

    def move(self, place: Place, next_offset: int) -> None:
        with self._lock:
            standing = self._standings.setdefault(place, Standing(next_offset, 0.0))
            standing.next_offset, standing.moved_at = next_offset, monotonic()

    def next_offset(self, place: Place, *, default: int) -> int:
        """The offset of the next record to handle; `default` for a partition that nothing is known of."""
        with self._lock:
            return self._standings[place].next_offset if place in self._standings else default

    def stop(self, place: Place, reason: str) -> bool:
        """A partition stands still until somebody mends what is wrong; whether this is news."""
        with self._lock:
            standing = self._standings[place]
            news, standing.stopped = standing.stopped is None, reason
            return news

    def go_on(self, place: Place) -> None:
        with self._lock:
            if place in self._standings:
                self._standings[place].stopped = None

    # Of the watchdog and the probe

    @property
    def places(self) -> list[Place]:
        with self._lock:
            return list(self._standings)

    def measure(self, ends: Mapping[Place, int]) -> None:
        """Note where the partitions' logs end."""
        with self._lock:
            self._measured_at = monotonic()
            for place, end in ends.items():
                if place in self._standings:
                    self._note_end(self._standings[place], end)

    def _note_end(self, standing: Standing, end: int) -> None:
        # The time without progress begins with the first record that waits.
        if standing.lag == 0:
            standing.moved_at = monotonic()
        standing.end = end

    def lags(self) -> dict[str, int]:
        """Topic → records that wait in this process's partitions."""
        lags: dict[str, int] = {}
        with self._lock:
            for (topic, _), standing in self._standings.items():
                lags[topic] = lags.get(topic, 0) + standing.lag
        return lags

    @property
    def stopped(self) -> int:
        """How many partitions stand still because of their records."""
        with self._lock:
            return sum(standing.stopped is not None for standing in self._standings.values())

    def problem(self) -> str | None:
        """What is wrong, in one line; None: all gets on."""
        if self._is_late(self._turned_at):
            return "The loop hangs."
        if self._is_late(self._measured_at):
            return "Kafka does not say where the logs end."
        with self._lock:
            for (topic, partition), standing in self._standings.items():
                if standing.stopped is not None:
                    return f"{topic}[{partition}] has stopped: {standing.stopped}"
                if standing.lag and self._is_late(standing.moved_at):
                    return f"{topic}[{partition}] makes no progress, and {standing.lag} records wait."
        return None

    def stuck(self, waiting: Container[Place]) -> str | None:
        """A partition of which nothing has come for twice the patience, although records are there and it does not wait
        for a service (`waiting`), in one line. None: there is none, or Kafka does not say where the logs end."""
        if self._is_late(self._measured_at):
            return None
        with self._lock:
            for (topic, partition), standing in self._standings.items():
                is_free = standing.stopped is None and (topic, partition) not in waiting
                if is_free and standing.lag and monotonic() - standing.moved_at > 2 * self._patience:
                    return f"{topic}[{partition}] brings nothing, although {standing.lag} records wait."
        return None

    def _is_late(self, moment: float) -> bool:
        return monotonic() - moment > self._patience

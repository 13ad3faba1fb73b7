"""Numbers that an operator reads."""

import logging
import time
from bisect import bisect_left
from collections import Counter
from threading import Lock

BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, float("inf"))  # seconds


class Histogram:
    """How many durations were at most as long as each of BOUNDS. One thread observes, any thread reads."""

    def __init__(self) -> None:
        self.sum = 0.0  # seconds
        self._counts = [0] * len(BOUNDS)

    def observe(self, seconds: float) -> None:
        self.sum += seconds
        self._counts[bisect_left(BOUNDS, seconds)] += 1

    def buckets(self) -> list[tuple[float, int]]:
        """Each bound with the number of durations up to it; the last number counts all."""
        total, buckets = 0, []
        for bound, count in zip(BOUNDS, self._counts, strict=True):
            total += count
            buckets.append((bound, total))
        return buckets


class Counters:
    """Counts from any thread; what is lost is also logged, at most once in `log_interval` seconds for each name."""

    def __init__(self, logger: logging.Logger, *, log_interval: float = 10.0) -> None:
        self.publish_seconds = Histogram()
        self._logger = logger
        self._log_interval = log_interval
        self._lock = Lock()
        self._counts: Counter[str] = Counter()
        self._logged_at: dict[str, float] = {}  # name -> monotonic seconds

    def add(self, name: str, number: int = 1) -> None:
        with self._lock:
            self._counts[name] += number

    def add_loss(self, name: str, detail: object, number: int = 1) -> None:
        """Count something that a person should hear of."""
        now = time.monotonic()
        with self._lock:
            self._counts[name] += number
            total = self._counts[name]
            if now - self._logged_at.get(name, -self._log_interval) < self._log_interval:
                return
            self._logged_at[name] = now
        self._logger.warning("%s (%d so far): %s", name, total, detail)

    def snapshot(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counts)

"""Latencies as an HDR histogram: 3 significant digits from a microsecond up to 10 minutes, and mergeable."""

from typing import Self

from hdrh.histogram import HdrHistogram

LONGEST = 600_000_000  # microseconds


class Latencies:
    def __init__(self) -> None:
        self._histogram = HdrHistogram(1, LONGEST, 3)

    def record(self, seconds: float) -> None:
        self._histogram.record_value(min(LONGEST, max(1, int(seconds * 1e6))))

    def add(self, other: Self) -> None:
        self._histogram.add(other._histogram)

    @property
    def count(self) -> int:
        return int(self._histogram.get_total_count())

    def at(self, percentile: float) -> float:
        """Seconds within which so many percent fall; 0 when there are none."""
        return float(self._histogram.get_value_at_percentile(percentile)) / 1e6 if self.count else 0.0

"""Latencies as an HDR histogram: 3 significant digits from a microsecond up to 10 minutes, and mergeable."""

from collections.abc import Mapping
from typing import Self

from hdrh.histogram import HdrHistogram

LONGEST = 600_000_000  # microseconds
TICK = 1e-4  # seconds; receipts are counted by whole ticks


class Latencies:
    def __init__(self) -> None:
        self._histogram = HdrHistogram(1, LONGEST, 3)

    def record(self, seconds: float, count: int = 1) -> None:
        self._histogram.record_value(min(LONGEST, max(1, int(seconds * 1e6))), count)

    def record_stall(self, seconds: float, interval: float) -> None:
        """Of what is asked for every `interval` seconds: those that could not be asked meanwhile would have waited for
        the rest of it (the correction of coordinated omission)."""
        value = min(LONGEST, max(1, int(seconds * 1e6)))
        self._histogram.record_corrected_value(value, int(interval * 1e6))

    def record_ticks(self, counts: Mapping[int, int]) -> None:
        """Latency in ticks → how often."""
        for ticks, count in counts.items():
            self.record(ticks * TICK, count)

    def add(self, other: Self) -> None:
        self._histogram.add(other._histogram)

    @property
    def count(self) -> int:
        return int(self._histogram.get_total_count())

    def at(self, percentile: float) -> float:
        """Seconds within which so many percent fall; 0 when there are none."""
        return float(self._histogram.get_value_at_percentile(percentile)) / 1e6 if self.count else 0.0

    # The histogram itself holds C arrays, which cannot be pickled; its encoded form goes from process to process.

    def __getstate__(self) -> bytes:
        return bytes(self._histogram.encode())

    def __setstate__(self, state: bytes) -> None:
        self._histogram = HdrHistogram.decode(state)

"""The newest records of one group, in one process."""

from bisect import bisect_right
from collections.abc import Sequence
from operator import attrgetter

from kafka_layer.records import Record

RECORD_BYTES = 600  # what a record takes in memory besides its value, roughly

_offset = attrgetter("position.offset")


class Ring:
    """Bounded by number, bytes and age. It knows exactly from where on it is complete.

    Not safe for threads: whoever holds the fan-out's lock may call it.
    """

    def __init__(self, *, lost_through: int, max_records: int, max_bytes: int) -> None:
        self.lost_through = lost_through  # offset: no record of the group behind it is missing here
        self.generation = 0  # grows when the partition jumps, since cursors from before mean nothing then
        self._records: list[Record] = []
        self.bytes = 0  # of all records together, roughly
        self._max_records = max_records
        self._max_bytes = max_bytes

    def __len__(self) -> int:
        return len(self._records)

    @property
    def last_offset(self) -> int:
        """Of the newest record, or where the newest one was lost."""
        return self._records[-1].position.offset if self._records else self.lost_through

    def append(self, record: Record) -> None:
        self._records.append(record)
        self.bytes += _size(record)
        surplus = 0
        while len(self._records) - surplus > self._max_records or self.bytes > self._max_bytes:
            self.bytes -= _size(self._records[surplus])
            surplus += 1
        self._drop(surplus)

    def evict_arrived_before(self, moment: float) -> None:
        """Drop what came before `moment` (monotonic seconds)."""
        old = 0
        while old < len(self._records) and self._records[old].arrived < moment:
            self.bytes -= _size(self._records[old])
            old += 1
        self._drop(old)

    def reset(self, lost_through: int) -> None:
        """The partition goes on somewhere else: nothing of before is kept, and every cursor is told."""
        self._records.clear()
        self.bytes = 0
        self.lost_through = lost_through
        self.generation += 1

    def between(self, after: int, through: int) -> Sequence[Record]:
        """Records with after < offset ≤ through. The caller has compared `after` with `lost_through`."""
        start = bisect_right(self._records, after, key=_offset)
        return self._records[start : bisect_right(self._records, through, lo=start, key=_offset)]

    def find(self, id: str) -> Record | None:
        return next((record for record in self._records if record.id == id), None)

    def _drop(self, count: int) -> None:
        if count:
            self.lost_through = self._records[count - 1].position.offset
            del self._records[:count]


def _size(record: Record) -> int:
    return RECORD_BYTES + len(record.value)

"""The repeat window: which ids of which groups a partition carried lately."""

from collections import OrderedDict


class RepeatWindow:
    """Decides from the last `seconds` of the log alone (ids and the broker's time stamps), so that every reader that
    has read these decides the same. So a repeat counts from the repeat before it, not from the first of them, which a
    reader that began later has not seen.
    """

    def __init__(self, *, seconds: float, max_ids: int = 200_000) -> None:
        self._span_ms = int(seconds * 1000)
        self._max_ids = max_ids
        self._seen: OrderedDict[tuple[str, str], int] = OrderedDict()  # (group, id) -> its last time stamp in ms

    def __len__(self) -> int:
        return len(self._seen)

    def is_repeat(self, group: str, id: str, timestamp_ms: int) -> bool:
        """Ask once for each record, in the order of the log: its id is remembered."""
        self._forget_before(timestamp_ms - self._span_ms)
        key = (group, id)
        is_repeat = key in self._seen
        self._seen[key] = timestamp_ms
        self._seen.move_to_end(key)
        if len(self._seen) > self._max_ids:
            self._seen.popitem(last=False)
        return is_repeat

    def clear(self) -> None:
        self._seen.clear()

    def _forget_before(self, timestamp_ms: int) -> None:
        while self._seen and next(iter(self._seen.values())) < timestamp_ms:
            self._seen.popitem(last=False)

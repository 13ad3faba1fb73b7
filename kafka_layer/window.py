"""The repeat window: which ids of which groups a partition carried lately."""

from collections import deque


class RepeatWindow:
    """Decides from the log alone (ids and the broker's time stamps), so that every reader decides the same."""

    def __init__(self, *, seconds: float, max_ids: int = 200_000) -> None:
        self._span_ms = int(seconds * 1000)
        self._max_ids = max_ids
        self._seen: set[tuple[str, str]] = set()
        self._order: deque[tuple[int, tuple[str, str]]] = deque()  # (time stamp in ms, (group, id))

    def __len__(self) -> int:
        return len(self._seen)

    def is_repeat(self, group: str, id: str, timestamp_ms: int) -> bool:
        """Ask once for each record, in the order of the log: a new id is remembered."""
        self._forget_before(timestamp_ms - self._span_ms)
        key = (group, id)
        if key in self._seen:
            return True
        self._seen.add(key)
        self._order.append((timestamp_ms, key))
        return False

    def clear(self) -> None:
        self._seen.clear()
        self._order.clear()

    def _forget_before(self, timestamp_ms: int) -> None:
        while self._order and (self._order[0][0] < timestamp_ms or len(self._order) >= self._max_ids):
            self._seen.discard(self._order.popleft()[1])

"""When to stop setting records aside: a wrong deployment must not empty a topic into the dead letters."""

from collections import deque

WINDOW = 100  # records


class BadShare:
    """What became of the newest records of one partition: at most `limit` of the last `WINDOW` may be bad."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # True: bad.
        self._fates: deque[bool] = deque(maxlen=WINDOW)

    @property
    def is_exhausted(self) -> bool:
        """Whether one more bad record is too many."""
        return sum(self._fates) >= self._limit

    def note_good(self, count: int) -> None:
        self._fates.extend([False] * min(count, WINDOW))

    def note_bad(self) -> None:
        self._fates.append(True)

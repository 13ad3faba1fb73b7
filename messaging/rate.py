"""How fast a person may write: a token bucket for each, in this process."""

from collections import OrderedDict
from threading import Lock
from time import monotonic

# People whose buckets are kept. One that has been full for long is the same as none.
MAX_BUCKETS = 100_000


class MessageRate:
    """`rate` messages a second, and `burst` at once. Safe for threads."""

    def __init__(self, *, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._lock = Lock()
        # user pk → (tokens, monotonic seconds when that was so); whoever wrote last stands last.
        self._buckets: OrderedDict[int, tuple[float, float]] = OrderedDict()

    def take(self, user: int) -> float:
        """Take a token. Returns 0, or in how many seconds there will be one."""
        now = monotonic()
        with self._lock:
            tokens, since = self._buckets.get(user, (self._burst, now))
            tokens = min(self._burst, tokens + (now - since) * self._rate)
            if tokens < 1:
                return (1 - tokens) / self._rate
            self._buckets[user] = (tokens - 1, now)
            self._buckets.move_to_end(user)
            if len(self._buckets) > MAX_BUCKETS:
                self._buckets.popitem(last=False)
            return 0.0

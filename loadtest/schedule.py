"""When the users of a worker are to say something."""

from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heapreplace

from loadtest.plan import Key, Plan


class Schedule:
    """True while something is left to be said. `say` is called once for each message, when its time has come."""

    def __init__(self, plan: Plan, users: Iterable[int], say: Callable[[Key], None]) -> None:
        self._plan = plan
        self._say = say
        firsts = (Key(user, 0) for user in users if plan.count(user))
        self._due = [(plan.sent_at(key), key) for key in firsts]
        heapify(self._due)
        # Plan's time of the next message; infinite when there is none.
        self.next_at = self._due[0][0] if self._due else float("inf")

    def __bool__(self) -> bool:
        return bool(self._due)

    def say_due(self, now: float) -> None:
        """Say all whose time has come. With every frame that is read, and not by a timer alone: a loop that has the
        frames of a thousand sockets to read comes to its timers only after them."""
        while self.next_at <= now:
            _, key = self._due[0]
            following = Key(key.sender, key.n + 1)
            if following.n < self._plan.count(key.sender):
                heapreplace(self._due, (self._plan.sent_at(following), following))
            else:
                heappop(self._due)
            self.next_at = self._due[0][0] if self._due else float("inf")
            self._say(key)

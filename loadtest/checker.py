"""Every message that a receiver should see is looked for: lost, twice, out of order, foreign."""

import re
from collections.abc import Iterator, Mapping, Sequence

from loadtest.outcome import Outcome
from loadtest.plan import Key, Place, Plan

# A message's text, and the id of its sender as the server tells it.
Said = tuple[str, str]
CURSOR = re.compile(r"(\d+)-(\d+)-(\d+)", re.ASCII)


def place_of(cursor: str) -> Place:
    """Where a message stands in its room. Clients must not look into a cursor; who judges the server does: epoch,
    partition, offset. Raises `ValueError` for anything else."""
    match = CURSOR.fullmatch(cursor)
    if match is None:
        raise ValueError(f"{cursor!r} is no cursor.")
    epoch, partition, offset = map(int, match.groups())
    return epoch, partition, offset


class RoomOrder:
    """The one order of a room: each message has the same place for all its receivers. `names`: user of the plan →
    account's id."""

    def __init__(self, plan: Plan, names: Mapping[int, str]) -> None:
        self._plan = plan
        self._names = names
        self.places: dict[Key, Place] = {}
        # What was said → which message it is; the first receiver reads it, the others look it up.
        self._known: dict[Said, Key] = {}

    def identify(self, said: Said) -> Key | None:
        """Which message of the plan this is, said by whom it should be; None for anything else."""
        known = self._known.get(said)
        if known is None:
            key = self._plan.read(said[0])
            if key is None or self._names.get(key.sender) != said[1]:
                return None
            known = self._known[said] = key
        return known

    def agrees(self, key: Key, place: Place) -> bool:
        """Whether all who saw the message saw it at this place."""
        return self.places.setdefault(key, place) == place


class Receiver:
    """Checks what one user sees of its room, and counts into `outcome`."""

    def __init__(self, plan: Plan, order: RoomOrder, senders: Sequence[int], outcome: Outcome) -> None:
        self._plan = plan
        self._order = order
        self._senders = senders
        self._outcome = outcome
        # When it was subscribed, on the plan's clock: what is to be sent from then on must come. None: not yet.
        self._joined: float | None = None
        # Sender → its first message that was seen, and the one that comes next.
        self._first: dict[int, int] = {}
        self._next: dict[int, int] = {}
        # Messages that a later one of their sender has overtaken: lost, unless they still come.
        self._overtaken: set[Key] = set()
        self._last: Place | None = None

    def join(self, time: float) -> None:
        self._joined = time

    def take(self, said: Said, place: Place) -> Key | None:
        """Check a message; return which one it is when it is here for the first time."""
        key = self._order.identify(said)
        if key is None or key.sender not in self._senders:
            self._outcome.foreign += 1
            return None
        if key.n >= self._next.get(key.sender, key.n):
            self._advance(key, place)
        elif not self._is_late(key):
            self._outcome.twice += 1
            return None
        self._outcome.received += 1
        return key

    def missing(self) -> Iterator[Key]:
        """What must have come and has not."""
        yield from self._overtaken
        if self._joined is None:
            return
        for sender in self._senders:
            count = self._plan.count(sender)
            required = self._plan.first_after(sender, self._joined)
            for n in range(required, min(count, self._first.get(sender, count))):
                yield Key(sender, n)
            for n in range(max(required, self._next.get(sender, count)), count):
                yield Key(sender, n)

    def _advance(self, key: Key, place: Place) -> None:
        """The next one of its sender, or one further on."""
        sender, n = key
        self._first.setdefault(sender, n)
        self._overtaken.update(Key(sender, skipped) for skipped in range(self._next.get(sender, n), n))
        self._next[sender] = n + 1
        if not self._order.agrees(key, place) or (self._last is not None and place <= self._last):
            self._outcome.out_of_order += 1
        else:
            self._last = place

    def _is_late(self, key: Key) -> bool:
        """Whether it is one that was overtaken, or stands before the first that was seen; else it was here already."""
        first = self._first[key.sender]
        if key.n < first:
            self._first[key.sender] = key.n
            self._overtaken.update(Key(key.sender, n) for n in range(key.n + 1, first))
        elif key not in self._overtaken:
            return False
        self._overtaken.discard(key)
        self._outcome.out_of_order += 1
        return True

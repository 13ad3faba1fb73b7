"""What one worker knows of a room's log: the one order of its messages, and how its receivers went through it.

A receipt must not cost much: in a room of 1,000 there are a million a second. The server shows the same frame to many
sockets, so a frame is read once (`Batch`), and a receiver only notes from where to where it went (a link). Links that
jumped over messages are found at the end, when all messages are known, and count for all receivers that took them.
"""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from operator import lt
from typing import NamedTuple

from loadtest.cursor import Place, place_of
from loadtest.latencies import TICK
from loadtest.plan import Key, Plan

SETTLING = 2  # seconds


class Shown(NamedTuple):
    """A message as it was first seen in its room. `key` is None for what nobody of this plan said, or not so; `agrees`:
    everybody saw it at this place; `due`: its intended send time in ticks, None when its latency does not count."""

    sender: str
    text: str
    place: Place
    key: Key | None
    agrees: bool
    due: int | None


@dataclass
class RoomRecord:
    """What is left of a room for the judgement; workers' records are merged."""

    # Message → where it stands, by acknowledgements and receipts.
    places: dict[Key, Place] = field(default_factory=dict)
    # (from, to) → receivers that were shown `to` next after `from`, be it a message or the start of a subscription.
    links: Counter[tuple[Place, Place]] = field(default_factory=Counter)
    # Place → receivers whose last message it is, and who stayed to the end.
    tails: Counter[Place] = field(default_factory=Counter)
    # Message → receivers that got it too late: they did get it, although a link jumped over it.
    late: Counter[Key] = field(default_factory=Counter)
    # (start, plan's time): subscriptions, which must bring what is sent later than that.
    starts: list[tuple[Place, float]] = field(default_factory=list)
    # Messages that were sent again after a refusal; a later one of their sender may stand before them.
    resent: set[Key] = field(default_factory=set)

    def add(self, other: "RoomRecord") -> int:
        """Take in what another worker knows; return how many messages the two saw at different places."""
        disagreements = sum(self.places.setdefault(key, place) != place for key, place in other.places.items())
        self.links += other.links
        self.tails += other.tails
        self.late += other.late
        self.starts += other.starts
        self.resent |= other.resent
        return disagreements


class Batch:
    """The messages of one frame, read once for all sockets that are shown it."""

    __slots__ = ("clean", "cursor", "due", "first", "keys", "last", "log", "pending", "places", "size", "taken", "tick")

    def __init__(self, log: "RoomLog", shown: Sequence[Shown], cursor: str) -> None:
        self.log = log
        self.cursor = cursor
        self.places = tuple(message.place for message in shown)
        self.keys = tuple(message.key for message in shown)
        self.size = len(shown)
        self.first, self.last = self.places[0], self.places[-1]
        # Nothing is wrong with it in itself; a receiver needs to look only at its first and last place.
        self.clean = (
            all(message.agrees for message in shown)
            and len(set(self.keys)) == self.size
            and all(map(lt, self.places, self.places[1:]))
        )
        # Receivers that took it whole.
        self.taken = 0
        # Intended send times, in ticks, of the messages whose latencies count.
        self.due = tuple(message.due for message in shown if message.due is not None)
        # For the counting of latencies: receivers that were shown it in the newest tick.
        self.tick = self.pending = 0


class RoomLog:
    """A room in one worker. `names`: user of the plan → account's id."""

    def __init__(self, plan: Plan, room: int, names: Mapping[int, str]) -> None:
        self._plan = plan
        self._names = names
        self._members = frozenset(plan.in_room(room))
        self._expected = sum(plan.count(user) for user in self._members)
        self.record = RoomRecord()
        self.newest: Place = 0
        # What was the newest a while ago: by now it must have come to everybody who is there.
        self.settled: Place = 0
        self._marks: deque[Place] = deque([0] * SETTLING, maxlen=SETTLING)
        # Cursor → the message that was seen there first. A server that is behind shows the same messages in frames that
        # all begin and end elsewhere.
        self._shown: dict[str, Shown] = {}

    @property
    def is_complete(self) -> bool:
        """Whether every message of the plan has been acknowledged or seen here."""
        return len(self.record.places) >= self._expected

    def settle(self) -> None:
        """Call it each second."""
        self.settled = self._marks[0]
        self._marks.append(self.newest)

    def look(self, sender: str, text: str, cursor: str) -> Shown:
        """A message that somebody was shown. Raises `ValueError` for what is no cursor."""
        known = self._shown.get(cursor)
        if known is not None and known.text == text and known.sender == sender:
            return known
        place, key = place_of(cursor), self._identify(sender, text)
        agrees = key is not None and self.agrees(key, place)
        sent_at = -1.0 if key is None else self._plan.sent_at(key)
        due = int(sent_at / TICK) if sent_at >= self._plan.steady_from else None
        shown = Shown(sender, text, place, key, agrees, due)
        self._shown.setdefault(cursor, shown)
        return shown

    def _identify(self, sender: str, text: str) -> Key | None:
        """Which message of the plan this is, said in this room by whom it should be; None for anything else."""
        key = self._plan.read(text)
        known = key is not None and key.sender in self._members and self._names[key.sender] == sender
        return key if known else None

    def agrees(self, key: Key, place: Place) -> bool:
        """Whether all who know of the message saw it at this place; the first one tells where it stands."""
        self.newest = max(self.newest, place)
        return self.record.places.setdefault(key, place) == place

    def fold(self, batch: Batch) -> None:
        """Note the steps within a batch, for each receiver that took it whole."""
        if batch.taken:
            for step in pairwise(batch.places):
                self.record.links[step] += batch.taken
            batch.taken = 0

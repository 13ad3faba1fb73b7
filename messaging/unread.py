"""Unread counts, live: what `messaging.activity` tells becomes `unread` frames for members who follow the room list.

Up to where they have read is kept here, so that news cost no query: it is loaded once when a person begins to follow,
for all who begin in the same second together, and moves with the events.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Set
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Any, NamedTuple

from django.db import DatabaseError, InterfaceError

from events.envelope import Envelope
from events.schemas import EventType
from kafka_layer import Batch, Gap
from messaging import protocol
from messaging.access import ADDED, AccessCache, Listener
from messaging.activity import ACTIVITY
from messaging.database import in_database
from messaging.last_message import LastMessage
from messaging.protocol import Frame, Text
from messaging.render import read_envelopes
from messaging.socket import Socket
from rooms import blocks
from rooms.models import Membership

logger = logging.getLogger(__name__)

TICK = 0.5  # seconds between two looks at who is to be loaded, and who was too slow to be told
MAX_KEPT = 10_000  # rooms whose last activity is kept
# For so long; what was said may be deleted, purged or erased later without a word here.
KEPT_FOR = 60.0  # seconds
MAX_MARKS = 10_000  # rooms of one person that are followed
LOADED_TOGETHER = 50  # people in one query, each with perhaps a thousand rooms


@dataclass(eq=False, slots=True)
class Follower:
    """A socket that follows the room list. `sees`: the rooms whose stream it gets, kept by its owner."""

    user: int
    sees: Set[int]
    socket: Socket
    # Rooms of which it is to be told when it has read on.
    late: set[int] = field(default_factory=set)


@dataclass(eq=False, slots=True)
class Person:
    """`marks`: room → number up to which the person has read. `since`: monotonic time from which on something
    may not have been told; before, nothing was missed. `changes` grows when rights have changed."""

    listener: Listener
    since: float
    sockets: set[Follower] = field(default_factory=set)
    marks: dict[int, int] = field(default_factory=dict)
    changes: int = 0


# (count, without a last message) → the frame that all who stand there get.
Texts = dict[tuple[int, bool], Text]


class Activity(NamedTuple):
    message: LastMessage
    arrived: float  # monotonic seconds


class UnreadFeed:
    """The followers of one web process; belongs to one event loop. Bounded by the people who are connected."""

    def __init__(self, layer: Any, access: AccessCache) -> None:
        self._layer = layer
        self._access = access
        self._people: dict[int, Person] = {}
        # Those whose marks are to be read from PostgreSQL.
        self._stale: set[int] = set()
        # room → the people who follow it, and the number of its newest message.
        self._members: dict[int, set[int]] = {}
        self._seqs: dict[int, int] = {}
        # The rooms of which was told last, also those that nobody here follows; the oldest stands first.
        self._newest: OrderedDict[int, Activity] = OrderedDict()
        self._late: set[Follower] = set()

    def follow(self, follower: Follower) -> None:
        """Tell a socket what becomes unread from now on. May be repeated."""
        person = self._people.get(follower.user)
        if person is None:
            person = Person(partial(self._access_changed, follower.user), monotonic())
            self._people[follower.user] = person
            self._access.listen(follower.user, person.listener)
            self._stale.add(follower.user)
        person.sockets.add(follower)

    def unfollow(self, follower: Follower) -> None:
        """End `follow`; may be repeated."""
        self._late.discard(follower)
        person = self._people.get(follower.user)
        if person is None:
            return
        person.sockets.discard(follower)
        if not person.sockets:
            self._access.unlisten(follower.user, person.listener)
            self._forget(follower.user, list(person.marks))
            self._stale.discard(follower.user)
            del self._people[follower.user]

    async def keep(self) -> None:
        """Pass on what is told, for ever."""
        subscription = self._layer.subscription()
        try:
            await subscription.join(ACTIVITY)
            self._begin_anew()
            while True:
                item = await subscription.next()
                if isinstance(item, Gap):
                    self._begin_anew()
                elif item is not None:
                    self._take(item)
        finally:
            subscription.close()

    def _begin_anew(self) -> None:
        """Something was missed: what was told before may not be the newest."""
        self._newest.clear()
        self._stale.update(self._people)

    async def catch_up(self) -> None:
        """Load who is stale, and tell who was behind, for ever. Apart from `keep`, since PostgreSQL may hang."""
        while True:
            await asyncio.sleep(TICK)
            self._drop_old()
            await self._load()
            self._tell_late()

    def _drop_old(self) -> None:
        horizon = monotonic() - KEPT_FOR
        while self._newest and next(iter(self._newest.values())).arrived < horizon:
            self._newest.popitem(last=False)

    # Rights and marks

    def _access_changed(self, user: int, room: int | None, reason: str) -> None:
        """What was taken away is told no more, at once; what is left is read again."""
        if reason == blocks.REASON:
            return  # no right
        person = self._people[user]
        person.changes += 1
        if reason != ADDED:
            self._forget(user, list(person.marks) if room is None else [room])
        self._stale.add(user)

    def _forget(self, user: int, rooms: list[int]) -> None:
        for room in rooms:
            self._people[user].marks.pop(room, None)
            members = self._members.get(room, set())
            members.discard(user)
            if not members:
                self._members.pop(room, None)
                self._seqs.pop(room, None)

    async def _load(self) -> None:
        """Read the marks of those who are stale; PostgreSQL may be away."""
        while self._stale:
            users = list(self._stale)[:LOADED_TOGETHER]
            changes = {user: self._people[user].changes for user in users}
            asked = monotonic()
            try:
                rows = await in_database(_read_marks)(users)
            except (DatabaseError, InterfaceError) as error:
                logger.warning("The read marks of %d people cannot be read: %s", len(users), error)
                return
            # Who went, or lost a right while it was read, is not loaded with what was read.
            fresh = {user for user in users if user in self._people and self._people[user].changes == changes[user]}
            self._stale -= fresh
            self._keep_marks([row for row in rows if row[0] in fresh])
            for user in fresh:
                self._people[user].since = asked

    def _keep_marks(self, rows: list[tuple[int, int, int, int]]) -> None:
        for user, room, mark, last_seq in rows:
            person = self._people[user]
            if room not in person.marks and len(person.marks) >= MAX_MARKS:
                continue
            person.marks[room] = max(mark, person.marks.get(room, 0))
            self._members.setdefault(room, set()).add(user)
            known, newest = self._seqs.get(room), self._newest.get(room)
            # Not what is stored and will be told in a moment: the marks of who said it are not read with it.
            self._seqs[room] = newest.message.seq if newest else max(last_seq, known or 0)
            # Told before the person was known here, or missed.
            if (newest and newest.arrived >= person.since) or (known is not None and last_seq > known):
                self._put_off(person, room)

    # News

    def _take(self, batch: Batch) -> None:
        for _, envelope in read_envelopes(batch):
            if envelope.type == EventType.ROOM_ACTIVITY:
                self._note(envelope)
            elif envelope.type == EventType.ROOM_READ:
                for mark in envelope.data["marks"]:
                    self._move(mark["user_id"], mark["room"], mark["seq"])

    def _note(self, envelope: Envelope) -> None:
        room, version = envelope.data["room"], envelope.version or 0
        known = self._newest.get(room)
        if known is not None and version <= known.message.version:
            return
        message = LastMessage(version, envelope.data["seq"], envelope.data["last_message"])
        self._newest[room] = Activity(message, monotonic())
        self._newest.move_to_end(room)
        if len(self._newest) > MAX_KEPT:
            self._newest.popitem(last=False)
        if room in self._members:
            # Also where more was stored when the marks were loaded: the rest is told in a moment, with its marks.
            self._seqs[room] = message.seq
            # Many stand at the same place, and share a frame.
            texts: Texts = {}
            for user in self._members[room]:
                self._tell(user, room, texts)

    def _move(self, user: int, room: int, seq: int) -> None:
        person = self._people.get(user)
        if person is not None and person.marks.get(room, seq) < seq:
            person.marks[room] = seq
            self._tell(user, room, {})

    def _tell(self, user: int, room: int, texts: Texts) -> None:
        person = self._people[user]
        for follower in person.sockets:
            if room in follower.sees:
                continue
            if follower.socket.is_behind:
                follower.late.add(room)
                self._late.add(follower)
                continue
            count = max(0, self._seqs[room] - person.marks[room])
            last = self._last_message(user, room)
            if (count, last is None) not in texts:
                texts[count, last is None] = protocol.render(protocol.unread(room, count, last))
            follower.socket.post_texts([texts[count, last is None]])

    def _last_message(self, user: int, room: int) -> Frame | None:
        """None where it is not known, or said by somebody whom the person blocks."""
        newest = self._newest.get(room)
        frame = newest.message.frame if newest else None
        return None if frame is None or frame.get("sender") in self._access.blocked(user) else frame

    def _put_off(self, person: Person, room: int) -> None:
        for follower in person.sockets:
            follower.late.add(room)
            self._late.add(follower)

    def _tell_late(self) -> None:
        """Tell who has read on how things stand now."""
        for follower in [each for each in self._late if not each.socket.is_behind]:
            self._late.discard(follower)
            late, follower.late = follower.late, set()
            person = self._people[follower.user]
            for room in late & person.marks.keys():
                self._tell(follower.user, room, {})


def _read_marks(users: list[int]) -> list[tuple[int, int, int, int]]:
    return list(Membership.objects.filter(user__in=users).order_by("-pk").read_marks())

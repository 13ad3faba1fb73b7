"""From the log to the members: the partitions as far as they are read, and the rings of the groups."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock

from confluent_kafka import Message

from kafka_layer.counters import Counters
from kafka_layer.errors import InvalidRecord, LayerClosed, LayerError
from kafka_layer.forwards import Forwards
from kafka_layer.mailbox import Entry, Mailboxes
from kafka_layer.partition import partition_of
from kafka_layer.received import CONTROL_KEY, channel_of, headers_of, key_of, position_of
from kafka_layer.records import Joined, Position, Record
from kafka_layer.ring import Ring
from kafka_layer.routes import Routes
from kafka_layer.subscription import Hub, Member, Subscription, View
from kafka_layer.wakeups import Wakeups, call_in_loop
from kafka_layer.window import RepeatWindow


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How much a process keeps of each group, and for how long."""

    replay: float  # seconds
    ring_records: int
    ring_bytes: int
    expiry: float  # seconds


@dataclass(eq=False, slots=True)
class Tail:
    """A partition as far as this process has read it."""

    read_through: int  # offset of the last record read
    forgotten_through: int  # offset: behind it, a group without a ring had no record; no ring has one from before
    window: RepeatWindow | None  # None on the layer's own topic
    behind_since: float | None = None  # monotonic seconds; None while it is read to its end


@dataclass(eq=False, slots=True)
class Group:
    """A group with its ring, and the views of the event loops that have members in it."""

    name: str
    topic: str
    partition: int
    ring: Ring
    views: dict[asyncio.AbstractEventLoop, View] = field(default_factory=dict)

    def position(self, offset: int) -> Position:
        return Position(self.topic, self.partition, offset)


class Fanout:
    """The reader's thread takes records in; event loops join, leave and read.

    `lock` guards all of it and is held for one record or one look at a time, so that a join sees a partition either
    before a record or behind it, and its ring likewise.
    """

    def __init__(
        self,
        routes: Routes,
        limits: Limits,
        mailboxes: Mailboxes,
        forwards: Forwards,
        counters: Counters,
        *,
        inbox: str,
    ) -> None:
        self.lock = Lock()
        self.counters = counters
        self._routes = routes
        self._limits = limits
        self._mailboxes = mailboxes
        self._forwards = forwards
        self._inbox = inbox
        self._counts: Mapping[str, int] = {}
        self._tails: dict[tuple[str, int], Tail] = {}
        self._groups: dict[str, Group] = {}
        self._hubs: dict[asyncio.AbstractEventLoop, Hub] = {}
        self._delivered = 0  # records handed to members in event loops that are gone
        # Who waits for the reader to come somewhere -> the places that it had not come to when this was looked at.
        self._milestones: dict[asyncio.Future[None], list[Position]] = {}
        self._closed: LayerClosed | None = None

    # The reader's side

    def open(
        self,
        counts: Mapping[str, int],
        starts: Mapping[tuple[str, int], int],
        rings_from: Mapping[tuple[str, int], int],
    ) -> None:
        """Partition counts by topic, and for each partition the offset at which its tail starts, and the one from which
        on its records come into rings: what lies between is read for the ids alone.
        """
        with self.lock:
            self._counts = counts
            for (topic, partition), start in starts.items():
                routed = topic != self._routes.own_topic
                window = RepeatWindow(seconds=self._limits.replay) if routed else None
                self._tails[topic, partition] = Tail(start - 1, rings_from[topic, partition] - 1, window)

    def take_in(self, messages: Sequence[Message]) -> None:
        """Place each record with its group, then tell each event loop once."""
        arrived = time.monotonic()
        touched: set[Group] = set()
        wakeups = Wakeups()
        for message in messages:
            with self.lock:
                self._take_in(message, arrived, touched, wakeups)
        self.counters.add("records_read", len(messages))
        self._pass_milestones(wakeups)
        self._tell(touched)
        wakeups.flush()

    def caught_up(self, end: Position) -> None:
        """The reader stands at the end of the partition: what lies before was read, or is no record."""
        with self.lock:
            tail = self._tails[end.topic, end.partition]
            tail.read_through = max(tail.read_through, end.offset - 1)
            tail.behind_since = None
        wakeups = Wakeups()
        self._pass_milestones(wakeups)
        wakeups.flush()

    def note_end(self, topic: str, partition: int, end: int) -> int:
        """Kafka has said where the partition ends; returns the last offset read of it."""
        with self.lock:
            tail = self._tails[topic, partition]
            if tail.read_through < end - 1:
                tail.behind_since = tail.behind_since or time.monotonic()
            return tail.read_through

    async def reach(self, positions: Iterable[Position]) -> None:
        """Wait until this process has read up to all these positions. Raises LayerClosed."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self.lock:
            if self._closed is not None:
                raise self._closed.again()
            ahead = self._ahead(positions)
            if not ahead:
                return
            self._milestones[future] = ahead
        try:
            await future
        finally:
            with self.lock:
                del self._milestones[future]

    def read_through(self, topic: str, partition: int) -> int:
        with self.lock:
            return self._tails[topic, partition].read_through

    def jump(self, topic: str, partition: int, next_offset: int) -> None:
        """Records were lost before this process read them: every member of the partition's groups gets a Gap."""
        with self.lock:
            tail = self._tails[topic, partition]
            tail.read_through = tail.forgotten_through = next_offset - 1
            touched = [g for g in self._groups.values() if (g.topic, g.partition) == (topic, partition)]
            for group in touched:
                group.ring.reset(next_offset - 1)
        self._tell(touched)

    def sweep(self) -> None:
        """Forget old records, quiet groups without members, and event loops that were closed with members in them;
        channels that nobody reads and memberships that were not renewed.
        """
        self._mailboxes.sweep()
        self._forwards.sweep()
        oldest = time.monotonic() - self._limits.replay
        with self.lock:
            closed = [loop for loop in self._hubs if loop.is_closed()]
            for loop in closed:
                self._delivered += self._hubs.pop(loop).delivered
            for group in list(self._groups.values()):
                for loop in closed:
                    group.views.pop(loop, None)
                group.ring.evict_arrived_before(oldest)
                if not group.views and not len(group.ring):
                    tail = self._tails[group.topic, group.partition]
                    tail.forgotten_through = max(tail.forgotten_through, group.ring.lost_through)
                    del self._groups[group.name]

    def delivered(self) -> int:
        """Records and messages that members of this process have been handed, each member by itself."""
        with self.lock:
            return self._delivered + self._mailboxes.delivered + sum(hub.delivered for hub in self._hubs.values())

    def gauges(self) -> dict[str, float]:
        """What stands where now. Lag is how long ago the reader last stood at the end of each partition, at most."""
        now = time.monotonic()
        with self.lock:
            rings = [group.ring for group in self._groups.values()]
            return {
                "groups": len(rings),
                "members": sum(len(view.members) for group in self._groups.values() for view in group.views.values()),
                "ring_records": sum(len(ring) for ring in rings),
                "ring_bytes": sum(ring.bytes for ring in rings),
                "lag_seconds": max([now - (tail.behind_since or now) for tail in self._tails.values()], default=0.0),
            }

    def close(self, error: LayerClosed) -> None:
        """Whoever waits, or comes later, gets `error`."""
        with self.lock:
            self._closed = error
            hubs = list(self._hubs.values())
            wakeups = Wakeups()
            for future in self._milestones:
                wakeups.add(future, error=error)
        wakeups.flush()
        for hub in hubs:
            call_in_loop(hub.loop, hub.fail, error)

    # The members' side

    def join(
        self, subscription: Subscription, name: str, after: Position | None, member: Member | None
    ) -> tuple[Member, Joined]:
        """Put the member's cursor where it asks to be, or as near to it as the ring reaches back."""
        with self.lock:
            if self._closed is not None:
                raise self._closed.again()
            group = self._open_group(name)
            covered = True
            if after is None:
                cursor = self._tails[group.topic, group.partition].read_through
            else:
                if after[:2] != (group.topic, group.partition):
                    raise ValueError(f"{after} lies in another partition than group {name!r}, {group.position(-1)}.")
                covered = after.offset >= group.ring.lost_through
                cursor = max(after.offset, group.ring.lost_through)
            if member is None:
                member = self._add_member(subscription, group, cursor)
            elif after is not None:
                member.cursor, member.generation = cursor, group.ring.generation
            return member, Joined(group.position(member.cursor), covered, group.position(group.ring.lost_through + 1))

    def leave(self, member: Member) -> None:
        view = member.view
        with self.lock:
            view.members.discard(member)
            if not view.members:
                view.group.views.pop(view.hub.loop, None)

    def oldest(self, name: str) -> Position:
        with self.lock:
            group = self._open_group(name)
            return group.position(group.ring.lost_through + 1)

    def end(self, name: str) -> Position:
        with self.lock:
            topic, partition = self._home(name)
            return Position(topic, partition, self._tails[topic, partition].read_through)

    def find(self, name: str, id: str) -> Record | None:
        with self.lock:
            group = self._groups.get(name)
            return group.ring.find(id) if group is not None else None

    # Helpers; whoever calls them holds the lock, except for _tell and _pass_milestones

    def _ahead(self, positions: Iterable[Position]) -> list[Position]:
        return [p for p in positions if p.offset > self._tails[p.topic, p.partition].read_through]

    def _pass_milestones(self, wakeups: Wakeups) -> None:
        with self.lock:
            for future, positions in self._milestones.items():
                self._milestones[future] = self._ahead(positions)
                if not self._milestones[future]:
                    wakeups.add(future)

    def _take_in(self, message: Message, arrived: float, touched: set[Group], wakeups: Wakeups) -> None:
        position = topic, partition, offset = position_of(message)
        tail = self._tails[topic, partition]
        if offset <= tail.read_through:  # read again after a seek
            return
        tail.read_through = offset
        tail.behind_since = tail.behind_since or arrived
        key = key_of(message)
        if key is None or not self._wants(key, topic, partition):
            return
        if key == CONTROL_KEY:
            self._obey(message, position, touched)
            return
        headers = headers_of(message)
        group = self._groups.get(key)
        if group is None and tail.window is not None and offset > tail.forgotten_through:
            group = self._open_group(key)
        # The group's own copy of its name is shared by all its records.
        record = self._record(message, position, group.name if group else key, headers, arrived)
        if tail.window is None:
            channel = channel_of(headers)
            if channel is not None and key != self._inbox:
                return  # for a channel that happens to have a group's name
            if channel is not None:
                self._mailboxes.deliver(channel, self._entry(record, expires=True), wakeups)
                return
            if not self._belongs(key, topic, partition):
                return
        elif record.id and tail.window.is_repeat(record.group, record.id, record.timestamp_ms):
            self.counters.add("repeats_dropped")
            return
        if offset <= tail.forgotten_through:
            return
        if group is not None:
            group.ring.append(record)
            touched.add(group)
        if self._mailboxes.has_group(key):
            self._mailboxes.deliver_to_group(key, self._entry(record, expires=tail.window is None), wakeups)
        if self._forwards.has_group(key):
            self._forward(record)

    def _forward(self, record: Record) -> None:
        try:
            self._forwards.pass_on(record, self._routes.own_codec)
        except (InvalidRecord, TypeError, ValueError) as error:
            self.counters.add_loss("records_invalid", f"{record}: {error}")

    def _obey(self, message: Message, position: Position, touched: set[Group]) -> None:
        """Do what a record for every process asks for."""
        try:
            control = self._routes.own_codec.decode(message.value() or b"")
        except InvalidRecord as error:
            self.counters.add_loss("records_invalid", f"control record at {position}: {error}")
            return
        match control:
            case {"do": "flush"}:
                self._mailboxes.clear()
                self._forwards.clear()
                for group in self._groups.values():
                    if (group.topic, group.partition) == position[:2]:
                        group.ring.reset(position.offset)
                        touched.add(group)
            case {"do": "discard", "group": str(group_name), "channel": str(channel)}:
                self._forwards.discard(group_name, channel)
            case _:
                self.counters.add_loss("records_invalid", f"control record at {position}: {control!r:.100}")

    def _wants(self, key: str, topic: str, partition: int) -> bool:
        """Decided by the key alone, before anything else of the record is looked at."""
        if topic == self._routes.own_topic:
            wanted = (
                key in (self._inbox, CONTROL_KEY)
                or key in self._groups
                or self._mailboxes.has_group(key)
                or self._forwards.has_group(key)
            )
            if not wanted:
                self.counters.add("records_skipped")
            return wanted
        return self._belongs(key, topic, partition)

    def _belongs(self, key: str, topic: str, partition: int) -> bool:
        """Elsewhere than in its group's partition a record has an offset that means nothing there: in the ring it would
        take the members' cursors away with it.
        """
        home = self._home(key)
        if home != (topic, partition):
            self.counters.add_loss("records_misplaced", f"{key!r} belongs in {home}, not {topic, partition}")
        return home == (topic, partition)

    def _record(
        self,
        message: Message,
        position: Position,
        key: str,
        headers: Sequence[tuple[str, bytes | None]],
        arrived: float,
    ) -> Record:
        return Record(
            position,
            key,
            message.value() or b"",
            codec=self._routes.codec_of(key),
            headers=headers,
            timestamp_ms=message.timestamp()[1],
            arrived=arrived,
        )

    def _entry(self, record: Record, *, expires: bool) -> Entry:
        """Expiry counts from when the broker took the record; records of routed topics do not expire."""
        if not expires:
            return Entry(record.decode, None)
        age = max(0.0, time.time() - record.timestamp_ms / 1000)
        return Entry(record.decode, record.arrived + self._limits.expiry - age)

    def _home(self, name: str) -> tuple[str, int]:
        topic = self._routes.topic_of(name)
        if topic not in self._counts:
            raise LayerError("The channel layer has not been started: await start() first.")
        return topic, partition_of(name, self._counts[topic])

    def _open_group(self, name: str) -> Group:
        group = self._groups.get(name)
        if group is None:
            topic, partition = self._home(name)
            tail = self._tails[topic, partition]
            # Records of the layer's own topic are passed over while nobody wants them.
            complete_behind = tail.forgotten_through if tail.window is not None else tail.read_through
            limits = self._limits
            ring = Ring(lost_through=complete_behind, max_records=limits.ring_records, max_bytes=limits.ring_bytes)
            group = self._groups[name] = Group(name, topic, partition, ring)
        return group

    def _add_member(self, subscription: Subscription, group: Group, cursor: int) -> Member:
        loop = subscription.loop
        view = group.views.get(loop)
        if view is None:
            hub = self._hubs.get(loop) or Hub(loop)
            self._hubs[loop] = hub
            view = group.views[loop] = View(self, group, hub)
        view.hub.subscriptions.add(subscription)
        member = Member(subscription, view, cursor, group.ring.generation)
        view.members.add(member)
        return member

    def _tell(self, groups: Iterable[Group]) -> None:
        news: defaultdict[Hub, set[View]] = defaultdict(set)
        with self.lock:
            for group in groups:
                for view in group.views.values():
                    news[view.hub].add(view)
        for hub, views in news.items():
            hub.tell(views)

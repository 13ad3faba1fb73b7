"""Members of groups: a subscription is a set of cursors in the rings of its groups, for one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from threading import Lock
from typing import TYPE_CHECKING
from weakref import WeakSet

from kafka_layer.errors import InvalidRecord, LayerClosed
from kafka_layer.records import Batch, Gap, Joined, Position, Record
from kafka_layer.wakeups import call_in_loop

if TYPE_CHECKING:
    from kafka_layer.fanout import Fanout, Group

BATCH_BYTES = 256 * 1024  # a batch ends with the record that passes this
# Members that are woken in one turn of the loop. With a thousand, a turn takes a tenth of a second, and libuv (uvloop)
# takes one new connection a turn: https://github.com/libuv/libuv/pull/3696.
MEMBERS_A_TURN = 64
BATCHES_KEPT = 16  # members that resume at many places at once must not fill the memory with renderings


class Hub:
    """The subscriptions of one event loop, and what they have not been told yet."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.subscriptions: WeakSet[Subscription] = WeakSet()
        self.delivered = 0  # records handed to members
        self._lock = Lock()
        self._news: set[View] = set()
        self._is_passing_on = False
        # Those who have not been told yet of what is passed on now.
        self._untold: Iterator[Member] = iter(())

    def tell(self, views: Iterable[View]) -> None:
        """From the reader's thread. While the loop is busy, news pile up and arrive as one."""
        with self._lock:
            self._news.update(views)
            is_passing_on, self._is_passing_on = self._is_passing_on, True
        if not is_passing_on:
            call_in_loop(self.loop, self._pass_on)

    def fail(self, error: LayerClosed) -> None:
        """Inside the loop: nothing follows for anybody here."""
        for subscription in list(self.subscriptions):
            subscription.fail(error)

    def _pass_on(self) -> None:
        """Tell some members, and the next ones in the next turn of the loop. Newer news wait until all are told: those
        who stood at the same place still do."""
        members = tuple(islice(self._untold, MEMBERS_A_TURN))
        if not members:
            with self._lock:
                news, self._news = self._news, set()
                self._is_passing_on = bool(news)
            if not news:
                return
            self._untold = chain.from_iterable([view.advance() for view in news])
            members = tuple(islice(self._untold, MEMBERS_A_TURN))
        for member in members:
            member.subscription.notice(member)
        self.loop.call_soon(self._pass_on)


@dataclass(eq=False, slots=True)
class Member:
    """A subscription's cursor in one group: the offset it has read through."""

    subscription: Subscription
    view: View
    cursor: int
    generation: int


class View:
    """One group as the members in one event loop see it.

    Its end moves only between the steps of the loop's tasks, not with every record: so members that read one after
    the other stand at the same place and share one batch, however fast the ring grows meanwhile.
    """

    def __init__(self, fanout: Fanout, group: Group, hub: Hub) -> None:
        self.group = group
        self.hub = hub
        self.members: set[Member] = set()
        self.end = group.ring.last_offset
        self._fanout = fanout
        self._batches: dict[tuple[int, int], Batch] = {}  # (generation, cursor) -> what follows up to `end`

    def advance(self) -> Sequence[Member]:
        """See what the ring has now; return those who are to be told."""
        with self._fanout.lock:
            self.end = self.group.ring.last_offset
        self._batches.clear()
        return tuple(self.members)

    def take(self, member: Member) -> Batch | Gap | None:
        """What the member reads next, and its cursor is behind it; None when it has read everything."""
        if member.cursor >= self.end and member.generation == self.group.ring.generation:
            return None
        batch = self._batches.get((member.generation, member.cursor))
        if batch is None:
            records = self._read(member)
            if isinstance(records, Gap):
                return records
            if not records:
                return None
            if len(self._batches) >= BATCHES_KEPT:
                self._batches.clear()
            batch = self._batches[member.generation, member.cursor] = self._gather(records)
        member.cursor = batch.through
        self.hub.delivered += len(batch.records)
        return batch

    def _read(self, member: Member) -> tuple[Record, ...] | Gap:
        ring = self.group.ring
        with self._fanout.lock:
            if member.generation == ring.generation and member.cursor >= ring.lost_through:
                return tuple(ring.between(member.cursor, self.end))
            missed_from = self.group.position(member.cursor + 1)
            member.generation, member.cursor = ring.generation, ring.lost_through
        gap = Gap(self.group.name, missed_from, self.group.position(member.cursor + 1))
        self._fanout.counters.add_loss("gaps", gap)
        return gap

    def _gather(self, records: Iterable[Record]) -> Batch:
        readable, size, through = [], 0, -1
        for record in records:
            through = record.position.offset
            try:
                _ = record.message
            except InvalidRecord as error:
                self._fanout.counters.add_loss("records_invalid", f"{record}: {error}")
                continue
            readable.append(record)
            size += len(record.value)
            if size > BATCH_BYTES:
                break
        return Batch(self.group.name, tuple(readable), through)


class Subscription:
    """Joins groups and hands over what they carry. Belongs to the event loop it was made in.

    Within a group records come in the order of the log, each once; between groups there is no order.
    """

    def __init__(self, start: Callable[[], Awaitable[Fanout]]) -> None:
        self._start = start
        self.loop = asyncio.get_running_loop()
        self._fanout: Fanout | None = None
        self._members: dict[str, Member] = {}
        self._pending: dict[str, Member] = {}  # those with something to read, the one that waits longest first
        self._waiter: asyncio.Future[None] | None = None
        self._closed: LayerClosed | None = None
        self._woken = False

    async def join(self, group: str, after: Position | None = None) -> Joined:
        """Without `after`, everything produced after this returned follows: all records behind `live_from`, the end
        of what this process has read. A record that another process produced just before may still be among them.

        With `after`, everything behind that position follows, as far as the ring reaches back (`covered`). Joining
        again moves the cursor to `after`, or changes nothing without it.
        """
        self._fanout = await self._start()
        if self._closed:
            raise self._closed.again()
        member, joined = self._fanout.join(self, group, after, self._members.get(group))
        self._members[group] = member
        self.notice(member)
        return joined

    async def leave(self, group: str) -> None:
        """Nothing of the group follows. Leaving a group that was not joined does nothing."""
        self._leave(group)

    @property
    def groups(self) -> frozenset[str]:
        return frozenset(self._members)

    async def next(self) -> Batch | Gap | None:
        """Waits for the next batch or gap of any group, or None after a `wake`. Cancelling it loses nothing: a batch is
        taken in the same step in which it is returned. One task at a time. Raises LayerClosed when nothing can follow.
        """
        while True:
            if self._closed:
                raise self._closed.again()
            if self._woken:
                self._woken = False
                return None
            item = self._take()
            if item is not None:
                return item
            if self._waiter is not None:
                raise RuntimeError("Two tasks await next() of one subscription: make a subscription for each.")
            self._waiter = self.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def wake(self) -> None:
        """Inside the loop: let `next` return None once, now or at its next call, so that the task that awaits it can
        look at something else first.
        """
        self._woken = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        """Leave every group; a task in next() gets LayerClosed. Closing twice is fine."""
        for group in list(self._members):
            self._leave(group)
        self.fail(LayerClosed("This subscription is closed."))

    def notice(self, member: Member) -> None:
        """Inside the loop: the member may have something to read, unless it has left meanwhile."""
        group = member.view.group.name
        if self._members.get(group) is not member:
            return
        self._pending[group] = member
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def fail(self, error: LayerClosed) -> None:
        self._closed = self._closed or error
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _take(self) -> Batch | Gap | None:
        while self._pending:
            group, member = next(iter(self._pending.items()))
            del self._pending[group]
            item = member.view.take(member)
            if item is None:
                continue
            self._pending[group] = member  # behind the others; there may be more
            if isinstance(item, Gap) or item.records:
                return item
        return None

    def _leave(self, group: str) -> None:
        member = self._members.pop(group, None)
        self._pending.pop(group, None)
        if member is not None and self._fanout is not None:
            self._fanout.leave(member)

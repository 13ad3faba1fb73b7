"""The fan-out without Kafka: records are put in where the reader's thread would put them."""

import asyncio
import json
import logging
from itertools import pairwise
from typing import Any, cast

import pytest
from confluent_kafka import Message

from kafka_layer import Batch, Gap, LayerClosed, Position, Subscription
from kafka_layer.codec import CODECS
from kafka_layer.counters import Counters
from kafka_layer.fanout import Fanout, Limits
from kafka_layer.forwards import Forwards
from kafka_layer.mailbox import Mailboxes
from kafka_layer.routes import Routes
from kafka_layer.subscription import MEMBERS_A_TURN

ROUTED, OWN = "routed", "own"


class FakeMessage:
    """What librdkafka hands over, as far as the fan-out looks at it."""

    def __init__(self, offset: int, *, key: bytes | None, value: bytes, id: str | None, topic: str) -> None:
        self._fields = {"offset": offset, "key": key, "value": value, "topic": topic, "partition": 0}
        self._fields["headers"] = [("id", id.encode())] if id else None
        self._fields["timestamp"] = (2, 1_000_000 + offset)

    def __getattr__(self, name: str) -> Any:
        return lambda: self._fields[name]


class Log:
    """A fan-out over one routed and one own topic of one partition each, and a log to append to."""

    def __init__(self, *, start: int = 0, rings_from: int | None = None, ring_records: int = 1000) -> None:
        self.counters = Counters(logging.getLogger("test"))
        routes = Routes([{"pattern": "room.*", "topic": ROUTED}], own_topic=OWN)
        limits = Limits(replay=60, ring_records=ring_records, ring_bytes=10_000_000, expiry=60)
        mailboxes = Mailboxes(lambda _: 100, self.counters, expiry=60, group_expiry=86400)
        self.forwarded: list[tuple[str, bytes, str]] = []
        self.forwards = Forwards(lambda *call: self.forwarded.append(call), expiry=60)
        self.fanout = Fanout(routes, limits, mailboxes, self.forwards, self.counters, inbox="me!")
        starts = {(ROUTED, 0): start, (OWN, 0): start}
        self.fanout.open({ROUTED: 1, OWN: 1}, starts, starts | {(ROUTED, 0): rings_from or start})
        self._next = {ROUTED: start, OWN: start}

    def append(self, group: str, *numbers: int, value: bytes | None = None, id: str | None = None) -> None:
        topic = ROUTED if group.startswith("room") else OWN
        for number in numbers:
            body = json.dumps({"n": number}).encode() if value is None else value
            message = FakeMessage(self._next[topic], key=group.encode(), value=body, id=id, topic=topic)
            self._next[topic] += 1
            self.fanout.take_in([cast(Message, message)])

    def subscription(self) -> Subscription:
        async def start() -> Fanout:
            return self.fanout

        return Subscription(start)


async def crowd(log: Log, *groups: str, turns: int = 3) -> list[Subscription]:
    """Members of these groups, so many that telling them all takes some turns of the loop."""
    members = [log.subscription() for _ in range(turns * MEMBERS_A_TURN)]
    for member in members:
        for group in groups:
            await member.join(group)
    return members


async def reading(members: list[Subscription]) -> list[asyncio.Task[Batch | Gap | None]]:
    """The members' next items, which all of them wait for."""
    readers = [asyncio.create_task(member.next()) for member in members]
    await asyncio.sleep(0)
    return readers


def numbers(item: Batch | Gap | None) -> list[int]:
    assert isinstance(item, Batch), item
    return [record.message["n"] for record in item.records]


async def test_a_large_group_leaves_turns_of_the_loop_to_others() -> None:
    """One turn for a thousand members would hold up every new connection: libuv takes one a turn."""
    log = Log()
    readers = await reading(await crowd(log, "room.1", turns=5))
    log.append("room.1", 1)
    told = []
    while not all(reader.done() for reader in readers):
        await asyncio.sleep(0)
        told.append(sum(reader.done() for reader in readers))
    growth = [after - before for before, after in pairwise([0, *told])]
    assert max(growth) <= MEMBERS_A_TURN
    assert len({id(reader.result()) for reader in readers}) == 1


async def test_news_that_come_while_members_are_told_part_nobody_from_the_others() -> None:
    log = Log()
    members = await crowd(log, "room.1")
    readers = await reading(members)
    log.append("room.1", 1)
    while not any(reader.done() for reader in readers):  # noqa: ASYNC110 (turns are counted)
        await asyncio.sleep(0)
    log.append("room.1", 2)
    assert [numbers(item) for item in await asyncio.gather(*readers)] == [[1]] * len(members)
    assert [numbers(await member.next()) for member in members] == [[2]] * len(members)


async def test_who_joins_while_others_are_told_is_told_what_follows() -> None:
    log = Log()
    members = await crowd(log, "room.1")
    log.append("room.1", 1)
    await asyncio.sleep(0)  # the first are told
    late = log.subscription()
    await late.join("room.1")
    log.append("room.1", 2)
    assert numbers(await late.next()) == [2]
    assert [numbers(await member.next()) for member in members] == [[1, 2]] * len(members)


async def test_a_member_that_left_while_others_were_told_is_told_nothing() -> None:
    log = Log()
    members = await crowd(log, "room.1", "room.2")
    log.append("room.1", 1)
    await asyncio.sleep(0)  # the first are told
    for member in members:
        await member.leave("room.1")
    log.append("room.2", 2)
    assert [numbers(await member.next()) for member in members] == [[2]] * len(members)


async def test_members_at_the_same_place_share_one_batch_and_one_rendering() -> None:
    """A message to one more member costs neither decoding nor rendering."""
    log = Log()
    members = [log.subscription() for _ in range(3)]
    for member in members:
        await member.join("room.1")
    log.append("room.1", 1, 2)
    batches = [await member.next() for member in members]
    assert batches[0] is batches[1] is batches[2]
    calls = []

    def render(batch: Batch) -> int:
        calls.append(batch)
        return len(batch.records)

    assert [cast(Batch, batch).render(render) for batch in batches] == [2, 2, 2]
    assert len(calls) == 1


async def test_records_that_come_while_members_are_served_leave_together() -> None:
    """The members stay at the same place, however fast the ring grows while the loop serves them."""
    log = Log()
    members = [log.subscription() for _ in range(4)]
    for member in members:
        await member.join("room.1")
    log.append("room.1", 0)
    served = []
    for number, member in enumerate(members, start=1):
        served.append(numbers(await member.next()))
        log.append("room.1", number)
    assert served[0] == [0]
    following = [await member.next() for member in members]
    assert len({id(batch) for batch in following}) <= 2
    assert [served[i] + numbers(following[i]) for i in range(4)] == [[0, 1, 2, 3, 4]] * 4


async def test_join_sees_what_follows_and_nothing_from_before() -> None:
    """live_from is the end of what was read; everything behind it follows."""
    log = Log()
    log.append("room.1", 1)
    log.append("room.2", 7)
    member = log.subscription()
    joined = await member.join("room.1")
    assert joined.live_from == Position(ROUTED, 0, 1)
    assert joined.covered
    log.append("room.1", 2)
    assert numbers(await member.next()) == [2]


async def test_live_from_serves_as_after() -> None:
    """Whoever comes back with it misses nothing and sees nothing twice."""
    log = Log()
    first, second = log.subscription(), log.subscription()
    joined = await first.join("room.1")
    log.append("room.1", 1, 2)
    resumed = await second.join("room.1", after=joined.live_from)
    assert resumed.covered and resumed.live_from == joined.live_from
    assert numbers(await second.next()) == numbers(await first.next()) == [1, 2]


async def test_resuming_behind_the_ring_is_not_covered_and_starts_at_the_oldest() -> None:
    """The member is told from where on it has everything."""
    log = Log(ring_records=2)
    log.append("room.1", 0, 1, 2, 3)
    member = log.subscription()
    joined = await member.join("room.1", after=Position(ROUTED, 0, 0))
    assert not joined.covered
    assert joined.oldest == Position(ROUTED, 0, 2) == log.fanout.oldest("room.1")
    assert joined.live_from == Position(ROUTED, 0, 1)
    assert numbers(await member.next()) == [2, 3]
    assert (await log.subscription().join("room.1", after=joined.live_from)).covered


async def test_resuming_before_the_tail_began_is_not_covered() -> None:
    """A quiet group's past is unknown, although nothing of it was ever dropped."""
    log = Log(start=100)
    assert not (await log.subscription().join("room.1", after=Position(ROUTED, 0, 98))).covered
    assert (await log.subscription().join("room.1", after=Position(ROUTED, 0, 99))).covered


async def test_a_position_of_another_partition_is_refused() -> None:
    """A cursor of another room must not be taken for one of this."""
    with pytest.raises(ValueError, match="another partition"):
        await Log().subscription().join("room.1", after=Position(ROUTED, 5, 0))


async def test_a_member_that_falls_off_the_ring_gets_a_gap_and_then_what_is_left() -> None:
    """Overflow is told, counted, and the member goes on."""
    log = Log(ring_records=3)
    member = log.subscription()
    await member.join("room.1")
    log.append("room.1", 0, 1, 2, 3, 4)
    assert await member.next() == Gap("room.1", Position(ROUTED, 0, 0), Position(ROUTED, 0, 2))
    assert numbers(await member.next()) == [2, 3, 4]
    assert log.counters.snapshot()["gaps"] == 1


async def test_a_jump_of_the_partition_is_a_gap_for_every_member() -> None:
    """Also when the log became shorter, so that offsets come again."""
    for target in (50, 1):
        log = Log()
        member = log.subscription()
        await member.join("room.1")
        log.append("room.1", 0, 1, 2)
        assert numbers(await member.next()) == [0, 1, 2]
        log.fanout.jump(ROUTED, 0, target)
        log._next[ROUTED] = target
        assert await member.next() == Gap("room.1", Position(ROUTED, 0, 3), Position(ROUTED, 0, target))
        log.append("room.1", 9)
        assert numbers(await member.next()) == [9]


async def test_joining_again_changes_nothing_without_after() -> None:
    """And with `after` it starts anew from there."""
    log = Log()
    member = log.subscription()
    await member.join("room.1")
    log.append("room.1", 1, 2)
    await member.join("room.1")
    assert numbers(await member.next()) == [1, 2]
    await member.join("room.1", after=Position(ROUTED, 0, 0))
    assert numbers(await member.next()) == [2]


async def test_after_leaving_nothing_follows() -> None:
    """Not even what was there to read."""
    log = Log()
    member = log.subscription()
    await member.join("room.1")
    await member.join("room.2")
    log.append("room.1", 1)
    await member.leave("room.1")
    log.append("room.1", 2)
    log.append("room.2", 3)
    assert numbers(await member.next()) == [3]
    assert member.groups == {"room.2"}


async def test_cancelling_next_loses_nothing() -> None:
    """However often, and while records come."""
    log = Log()
    member = log.subscription()
    await member.join("room.1")
    seen: list[int] = []
    for number in range(100):
        task = asyncio.ensure_future(member.next())
        await asyncio.sleep(0)
        log.append("room.1", number)
        for _ in range(number % 4):
            await asyncio.sleep(0)
        if not task.cancel():
            seen += numbers(task.result())
    log.append("room.1", 100)
    while seen[-1:] != [100]:
        seen += numbers(await member.next())
    assert seen == list(range(101))


async def test_a_busy_group_does_not_starve_a_quiet_one() -> None:
    """Groups with something to read take turns."""
    log = Log()
    member = log.subscription()
    await member.join("room.1")
    await member.join("room.2")
    big = json.dumps({"n": 0, "pad": "x" * 200_000}).encode()
    for _ in range(6):
        log.append("room.1", 0, value=big)
    log.append("room.2", 5)
    groups = [cast(Batch, await member.next()).group for _ in range(3)]
    assert groups.index("room.2") <= 1


async def test_records_that_are_no_messages_are_passed_over() -> None:
    """Not JSON, or no object: nobody gets them, and what stands behind them is delivered."""
    log = Log()
    member = log.subscription()
    await member.join("room.1")
    for value in (b"\xff", b"[1]", b"", b"{"):
        log.append("room.1", 0, value=value)
    log.append("room.1", 1)
    assert numbers(await member.next()) == [1]
    assert log.counters.snapshot()["records_invalid"] == 4


async def test_a_repeat_is_delivered_once_also_across_what_the_ring_holds() -> None:
    """The repeat window outlives the ring's records."""
    log = Log(ring_records=1)
    member = log.subscription()
    await member.join("room.1")
    log.append("room.1", 1, id="a")
    assert numbers(await member.next()) == [1]
    log.append("room.1", 2, id="b")
    log.append("room.1", 3, id="a")
    assert numbers(await member.next()) == [2]
    assert log.counters.snapshot()["repeats_dropped"] == 1


async def test_what_lies_before_the_rings_is_read_for_its_ids_alone() -> None:
    """A repeat of it is dropped, and a resume from there is not covered."""
    log = Log(rings_from=2)
    log.append("room.1", 0, id="a")
    log.append("room.1", 1, id="b")
    log.append("room.1", 2, id="a")
    log.append("room.1", 3, id="c")
    assert not (await log.subscription().join("room.1", after=Position(ROUTED, 0, 0))).covered
    member = log.subscription()
    assert (await member.join("room.1", after=Position(ROUTED, 0, 1))).covered
    assert numbers(await member.next()) == [3]


async def test_a_key_that_belongs_elsewhere_reaches_nobody() -> None:
    """A foreign producer's record cannot slip into a group's ring from another topic."""
    log = Log()
    member = log.subscription()
    await member.join("other")
    message = FakeMessage(0, key=b"other", value=b'{"n":1}', id=None, topic=ROUTED)
    log.fanout.take_in([cast(Message, message)])
    for key in (None, b"\xff"):
        log.fanout.take_in([cast(Message, FakeMessage(1, key=key, value=b"", id=None, topic=ROUTED))])
    assert log.counters.snapshot()["records_misplaced"] == 1
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(member.next(), 0.01)


async def test_a_routed_groups_record_in_the_layers_own_topic_reaches_nobody() -> None:
    """As from a process without the route: its offset would carry the members' cursors away."""
    log = Log()
    member = log.subscription()
    await member.join("room.1")
    message = FakeMessage(1000, key=b"room.1", value=b'{"n":1}', id=None, topic=OWN)
    log.fanout.take_in([cast(Message, message)])
    log.append("room.1", 2)
    async with asyncio.timeout(1):
        assert numbers(await member.next()) == [2]
    assert log.counters.snapshot()["records_misplaced"] == 1


async def test_no_header_of_a_foreign_record_stops_the_reader() -> None:
    """Whatever stands in a record for this process's inbox, what stands behind it is delivered."""
    log = Log()
    member = log.subscription()
    await member.join("typing.1")
    for offset, channel in enumerate([None, b"\xff", b"", b"nobody!x"]):
        message = FakeMessage(offset, key=b"me!", value=b"", id=None, topic=OWN)
        message._fields["headers"] = [("channel", channel), ("id", None)]
        log.fanout.take_in([cast(Message, message)])
    log._next[OWN] = 4
    async with asyncio.timeout(1):
        log.append("typing.1", 1, value=CODECS["msgpack"].encode({"n": 2}))
        assert numbers(await member.next()) == [2]


async def test_quiet_groups_without_members_are_forgotten_and_what_that_means_is_remembered() -> None:
    """Memory follows traffic; a resume from before the forgotten records is not covered."""
    log = Log()
    log.append("room.1", 1, 2)
    log.fanout._limits = Limits(replay=0, ring_records=9, ring_bytes=999, expiry=60)
    log.fanout.sweep()
    assert log.fanout._groups == {}
    assert not (await log.subscription().join("room.1", after=Position(ROUTED, 0, 0))).covered
    assert (await log.subscription().join("room.1", after=Position(ROUTED, 0, 1))).covered


async def test_groups_of_the_own_topic_are_kept_only_while_they_have_members() -> None:
    """Their records are passed over by the key alone when nobody wants them."""
    log = Log()
    log.append("typing.1", 1)
    assert log.counters.snapshot()["records_skipped"] == 1
    member = log.subscription()
    joined = await member.join("typing.1")
    assert joined.live_from.offset == 0 and joined.oldest.offset == 1


async def test_closing_ends_the_wait_of_every_member() -> None:
    """Nobody waits for records that cannot come."""
    log = Log()
    member, other = log.subscription(), log.subscription()
    await member.join("room.1")
    waiting = asyncio.ensure_future(member.next())
    await asyncio.sleep(0)
    log.fanout.close(LayerClosed("closed"))
    with pytest.raises(LayerClosed):
        await waiting
    with pytest.raises(LayerClosed):
        await other.join("room.1")
    other.close()
    other.close()
    with pytest.raises(LayerClosed):
        await other.next()

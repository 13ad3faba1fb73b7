"""The channel layer between two processes, over a real Kafka."""

import asyncio
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from kafka_layer import Batch, KafkaChannelLayer, Position, Unsupported
from tests.integration.kafka_layer_support import (
    PATIENCE,
    Peer,
    create_config,
    peer_process,
    read,
    running_layer,
    seeded_random,
)
from tests.integration.kafka_layer_traffic import REPLAY

pytestmark = pytest.mark.timeout(600)  # seconds; thousands of round trips, perhaps on a busy machine


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return create_config()


@pytest.fixture(scope="module")
def peer(config: dict[str, Any]) -> Iterator[Peer]:
    with peer_process(config) as peer:
        yield peer


async def test_a_group_reaches_its_channels_in_both_processes(config: dict[str, Any], peer: Peer) -> None:
    """Whoever sends, each member in each process gets the message once."""
    async with running_layer(config) as layer:
        here = await layer.new_channel()
        await layer.group_add("lobby", here)
        there = await peer.do("join", "lobby")
        await layer.group_send("lobby", {"type": "from.here"})
        await peer.do("group_send", "lobby", {"type": "from.there"})
        async with asyncio.timeout(PATIENCE):
            received = [
                [await layer.receive(here) for _ in range(2)],
                [await peer.do("receive", there) for _ in range(2)],
            ]
        for messages in received:  # neither sender waited for Kafka, so the log decides who was first
            assert sorted(message["type"] for message in messages) == ["from.here", "from.there"]
        assert received[0] == received[1]


async def test_a_direct_message_reaches_a_channel_of_the_other_process(config: dict[str, Any], peer: Peer) -> None:
    """In the order in which it was sent."""
    async with running_layer(config) as layer:
        here = await layer.new_channel()
        for n in range(50):
            await peer.do("send", here, {"type": "x", "n": n})
        async with asyncio.timeout(PATIENCE):
            assert [(await layer.receive(here))["n"] for _ in range(50)] == list(range(50))


async def test_a_record_sent_right_after_a_join_is_never_missed(config: dict[str, Any], peer: Peer) -> None:
    """200 times: join, then the other process sends at once."""
    async with running_layer(config) as layer:
        for n in range(200):
            subscription = layer.subscription()
            await subscription.join(f"room.join{n % 10}")
            (offset,) = await peer.do("publish", f"room.join{n % 10}", n, 1)
            seen = await read(subscription, 1)
            assert seen[-1] == n, f"round {n}, offset {offset}"
            subscription.close()


async def test_a_message_sent_right_after_group_add_is_never_missed(config: dict[str, Any], peer: Peer) -> None:
    """1,000 times, with a new channel and a new group each."""
    async with running_layer(config) as layer:
        for n in range(1000):
            channel = await layer.new_channel()
            await layer.group_add(f"add.{n}", channel)
            await peer.do("group_send", f"add.{n}", {"n": n})
            async with asyncio.timeout(PATIENCE):
                assert await layer.receive(channel) == {"n": n}
            await layer.group_discard(f"add.{n}", channel)


async def test_all_members_see_the_order_of_the_log(config: dict[str, Any], peer: Peer) -> None:
    """Two processes send 1,000 each into one group; members see one order, and each sender's own is kept."""
    async with running_layer(config) as layer:
        members = [layer.subscription() for _ in range(5)]
        for member in members:
            await member.join("room.order")
        reading = asyncio.gather(*[read(member, 2000) for member in members])
        theirs = asyncio.ensure_future(peer.do("publish", "room.order", 1000, 1000))
        ours = await asyncio.gather(*[layer.publish("room.order", {"n": n}) for n in range(1000)])
        assert await theirs == sorted(await theirs)
        seen = await reading
        assert all(order == seen[0] for order in seen)
        assert [n for n in seen[0] if n < 1000] == list(range(1000))
        assert [n for n in seen[0] if n >= 1000] == list(range(1000, 2000))
        assert [position.offset for position in ours] == sorted(position.offset for position in ours)


async def test_150_members_in_three_processes_each_get_everything_once_in_order() -> None:
    """Two more processes send 2,000 messages each; what a sender sent comes in the sender's order."""
    config = {**create_config(), "capacity": 5000}
    with ExitStack() as stack:
        readers = [stack.enter_context(peer_process(config)) for _ in range(3)]
        senders = {name: stack.enter_context(peer_process(config)) for name in ("a", "b")}
        for reader in readers:
            await reader.do("read_as_members", "crowd", 50, list(senders), 2000)
        await asyncio.gather(*[sender.do("flood", "crowd", name, 2000) for name, sender in senders.items()])
        assert await asyncio.gather(*[reader.do("members_done") for reader in readers]) == [50, 50, 50]


async def test_connections_that_come_and_go_leave_no_memory_behind() -> None:
    """10,000 of them: less than 5 MiB more than after the first 1,000, once what they did not read has expired."""
    with peer_process({**create_config(), "expiry": 1}) as peer:
        sizes = [await peer.do("churn", 1000) for _ in range(10)]
    print("KiB after each 1,000:", sizes)
    assert sizes[-1] - sizes[0] < 5 * 1024


async def test_a_channel_of_another_process_is_refused_not_forgotten(config: dict[str, Any], peer: Peer) -> None:
    """Reading it or adding it to a group can only be done where it lives, and says so."""
    there = await peer.do("join", "elsewhere")
    async with running_layer(config) as layer:
        with pytest.raises(Unsupported, match="belongs to another process"):
            await layer.group_add("g", there)
        with pytest.raises(Unsupported, match="belongs to another process"):
            await layer.receive(there)


async def test_members_that_come_and_go_and_resume_miss_nothing(config: dict[str, Any], peer: Peer) -> None:
    """Under traffic from two processes, each member sees exactly the records behind its live_from, in order."""
    chance = seeded_random()
    groups = [f"room.churn{n}" for n in range(5)]
    histories: list[tuple[str, int, list[int]]] = []  # group, live_from, offsets seen

    async def come_and_go(layer: KafkaChannelLayer) -> None:
        group = chance.choice(groups)
        after: Position | None = None
        while not finished.is_set():
            subscription = layer.subscription()
            joined = await subscription.join(group, after)
            assert joined.covered
            seen: list[int] = []
            histories.append((group, joined.live_from.offset, seen))
            with suppress(TimeoutError):
                async with asyncio.timeout(chance.random() / 10):
                    while True:
                        item = await subscription.next()
                        assert isinstance(item, Batch)
                        seen += [record.position.offset for record in item.records]
                        assert item.through == seen[-1]
            subscription.close()
            last = Position(*joined.live_from[:2], seen[-1] if seen else joined.live_from.offset)
            after = last if chance.random() < 0.7 else None

    async with running_layer(config, replay=REPLAY) as layer, running_layer(config, replay=REPLAY) as witness:
        reference = witness.subscription()
        starts = {group: (await reference.join(group)).live_from.offset for group in groups}
        finished = asyncio.Event()
        members = [asyncio.ensure_future(come_and_go(layer)) for _ in range(20)]
        published: dict[str, set[int]] = {group: set() for group in groups}
        for n in range(60):
            group = chance.choice(groups)
            theirs = peer.do("publish", group, n, 20)
            ours = asyncio.gather(*[layer.publish(group, {"n": n}) for n in range(20)])
            published[group] |= {*await theirs, *(position.offset for position in await ours)}
        finished.set()
        await asyncio.gather(*members)
        log: dict[str, list[int]] = {group: [] for group in groups}
        async with asyncio.timeout(PATIENCE):
            while {group: set(offsets) for group, offsets in log.items()} != published:
                item = await reference.next()
                assert isinstance(item, Batch)
                log[item.group] += [record.position.offset for record in item.records]
    assert len(histories) > 40
    for group, live_from, seen in histories:
        begin = bisect_right(log[group], live_from)
        assert seen == log[group][begin : begin + len(seen)], (group, live_from, starts[group])

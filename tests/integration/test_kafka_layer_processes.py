"""The channel layer between two processes, over a real Kafka."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from kafka_layer import Unsupported
from tests.integration.kafka_layer_support import PATIENCE, Peer, create_config, peer_process, read, running_layer


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
            assert [await layer.receive(here) for _ in range(2)] == [{"type": "from.here"}, {"type": "from.there"}]
        assert [await peer.do("receive", there) for _ in range(2)] == [{"type": "from.here"}, {"type": "from.there"}]


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
    """200 times, with a new channel and a new group each."""
    async with running_layer(config) as layer:
        for n in range(200):
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


async def test_a_channel_of_another_process_is_refused_not_forgotten(config: dict[str, Any], peer: Peer) -> None:
    """Reading it or adding it to a group can only be done where it lives, and says so."""
    there = await peer.do("join", "elsewhere")
    async with running_layer(config) as layer:
        with pytest.raises(Unsupported, match="belongs to another process"):
            await layer.group_add("g", there)
        with pytest.raises(Unsupported, match="belongs to another process"):
            await layer.receive(there)

"""Channels without `!`, over a real Kafka: many may read, one gets each message."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from kafka_layer import KafkaChannelLayer, LayerClosed, shared
from tests.integration.kafka_layer_support import PATIENCE, create_config, peer_process, running_layer


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return create_config()


async def receive(layer: KafkaChannelLayer, channel: str) -> Any:
    async with asyncio.timeout(PATIENCE):
        return (await layer.receive(channel))["n"]


async def test_a_message_sent_before_any_reader_exists_waits_for_it(config: dict[str, Any]) -> None:
    """Also when its sender has gone."""
    async with running_layer(config) as layer:
        for n in range(3):
            await layer.send("early", {"n": n})
    async with running_layer(config) as layer:
        assert [await receive(layer, "early") for _ in range(3)] == [0, 1, 2]


async def test_what_was_received_is_not_received_again(config: dict[str, Any]) -> None:
    """A reader that comes later goes on where the one before stopped, unread messages included."""
    async with running_layer(config) as layer:
        for n in range(4):
            await layer.send("once", {"n": n})
        assert [await receive(layer, "once") for _ in range(2)] == [0, 1]
        task = asyncio.ensure_future(layer.receive("once"))
        await asyncio.sleep(0)
        task.cancel()
    async with running_layer(config) as layer:
        assert [await receive(layer, "once") for _ in range(2)] == [2, 3]


async def test_two_processes_share_a_channel(config: dict[str, Any]) -> None:
    """Each message goes to one of them, and when one leaves the other gets the rest."""
    ours: list[int] = []

    async def keep_receiving(layer: KafkaChannelLayer) -> None:
        with suppress(LayerClosed):
            while True:
                ours.append((await layer.receive("work"))["n"])

    async def wait_for(count: int) -> list[int]:
        async with asyncio.timeout(PATIENCE):
            while len(theirs := await peer.do("drained")) + len(ours) < count:
                pass
            return sorted([*ours, *theirs])

    with peer_process(config) as peer:
        async with running_layer(config) as layer:
            reading = asyncio.ensure_future(keep_receiving(layer))
            await peer.do("drain", "work")
            for n in range(100):
                await layer.send("work", {"n": n})
            assert await wait_for(100) == list(range(100))
        await reading
        async with running_layer(config) as layer:
            for n in range(100, 120):
                await layer.send("work", {"n": n})
        assert await wait_for(120) == list(range(120))


@pytest.mark.parametrize("patience", [1.0, 0.0])
async def test_a_cancelled_receive_of_a_shared_channel_loses_nothing(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    """The message stays for the next receive, also when fetching has stopped in between."""
    monkeypatch.setattr(shared, "PATIENCE", patience)
    monkeypatch.setattr(shared, "LOOK", 0.005)
    async with running_layer(config) as layer:
        seen: list[int] = []
        channel = f"cancelled{patience}"
        for n in range(50):
            await layer.send(channel, {"n": n})
            task = asyncio.ensure_future(layer.receive(channel))
            await asyncio.wait([task], timeout=(n % 30) / 1000)
            if not task.cancel():
                seen.append((await task)["n"])
        while len(seen) < 50:
            seen.append(await receive(layer, channel))
        assert seen == list(range(50))


async def test_a_group_may_have_the_name_of_a_channel(config: dict[str, Any]) -> None:
    """What is sent to one does not reach the other."""
    async with running_layer(config) as layer:
        member = await layer.new_channel()
        await layer.group_add("namesake", member)
        await layer.send("namesake", {"n": 1})
        await layer.group_send("namesake", {"n": 2})
        assert await receive(layer, member) == 2
        assert await receive(layer, "namesake") == 1

"""The channel layer in one process, over a real Kafka."""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Any, cast
from uuid import uuid4

import pytest
from asgiref.sync import async_to_sync
from channels.exceptions import ChannelFull, MessageTooLarge
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from kafka_layer import (
    Batch,
    KafkaChannelLayer,
    LayerClosed,
    NotProduced,
    Position,
    PublishFailed,
    TopicMissing,
)
from kafka_layer.fanout import Fanout
from kafka_layer.partition import partition_of
from tests.integration.kafka_layer_support import (
    PATIENCE,
    ROOT,
    bootstrap_servers,
    create_config,
    publish_until_acknowledged,
    read,
    running_layer,
    start_until_answered,
)


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return create_config()


async def test_publish_gives_the_position_at_which_readers_see_the_record(config: dict[str, Any]) -> None:
    """With the id, the headers and the broker's time."""
    async with running_layer(config) as layer:
        subscription = layer.subscription()
        await subscription.join("room.1")
        position = await layer.publish("room.1", {"n": 1, "text": "안녕"}, id="abc", headers={"h": "v"})
        async with asyncio.timeout(PATIENCE):
            batch = cast(Batch, await subscription.next())
        (record,) = batch.records
        assert record.position == position
        assert (record.group, record.id, record.headers) == ("room.1", "abc", {"h": b"v", "id": b"abc"})
        assert record.message == {"n": 1, "text": "안녕"}
        assert record.value == '{"n":1,"text":"안녕"}'.encode()
        assert record.timestamp_ms > 1_600_000_000_000
        assert position.partition == layer.partition("room.1") == partition_of("room.1", 3)
        assert layer.find("room.1", "abc") is record
        assert layer.end("room.1") == position


async def test_partitions_are_those_of_librdkafka(config: dict[str, Any]) -> None:
    """Other producers with murmur2_random put a key where this layer expects it."""
    producer = Producer({"bootstrap.servers": bootstrap_servers(), "partitioner": "murmur2_random"})
    placed: dict[str, int] = {}
    topic = config["routes"][0]["topic"]
    for key in [f"room.{n}" for n in range(100)] + ["room.é", "room.한글"]:
        producer.produce(topic, b"{}", key, on_delivery=lambda _, m, key=key: placed.update({key: m.partition()}))
    producer.flush(PATIENCE)
    assert placed == {key: partition_of(key, 3) for key in placed}
    assert len(placed) == 102


async def test_a_repeated_id_is_delivered_once(config: dict[str, Any]) -> None:
    """Both are stored, every reader drops the second."""
    async with running_layer(config) as layer:
        subscription = layer.subscription()
        await subscription.join("room.repeat")
        first = await layer.publish("room.repeat", {"n": 1}, id="same")
        second = await layer.publish("room.repeat", {"n": 2}, id="same")
        await layer.publish("room.repeat", {"n": 3}, id="other")
        assert second.offset > first.offset
        assert await read(subscription, 2) == [1, 3]
        assert layer.counters["repeats_dropped"] == 1


async def test_a_process_that_starts_later_knows_the_last_minute(config: dict[str, Any]) -> None:
    """Rings and repeat window are warm, and a member still sees nothing from before its join."""
    async with running_layer(config) as layer:
        positions = [await layer.publish("room.warm", {"n": n}, id=str(n)) for n in range(3)]
    async with running_layer(config) as layer:
        live, resumed = layer.subscription(), layer.subscription()
        assert (await live.join("room.warm")).live_from.offset >= positions[-1].offset
        assert (await resumed.join("room.warm", after=positions[0])).covered
        await layer.publish("room.warm", {"n": 99}, id="0")
        await layer.publish("room.warm", {"n": 3}, id="3")
        assert await read(resumed, 3) == [1, 2, 3]
        assert await read(live, 1) == [3]


async def test_a_process_that_starts_later_decides_alike_about_repeats(config: dict[str, Any]) -> None:
    """Also about one within its rings whose first record lies before them."""
    topic, now = f"test-{uuid4().hex}", time.time_ns() // 1_000_000
    admin = AdminClient({"bootstrap.servers": bootstrap_servers()})
    admin.create_topics([NewTopic(topic, 1)])[topic].result(PATIENCE)
    producer = Producer({"bootstrap.servers": bootstrap_servers()})
    for n, age in enumerate((900, 450, 450)):  # seconds
        headers = {"id": "same" if n < 2 else "other"}
        producer.produce(topic, json.dumps({"n": n}), "room.1", headers=headers, timestamp=now - age * 1000)
    producer.flush(PATIENCE)
    async with running_layer(config, routes=[{"pattern": "room.*", "topic": topic}], replay=600) as layer:
        subscription = layer.subscription()
        assert (await subscription.join("room.1", after=Position(topic, 0, 0))).covered
        assert await read(subscription, 1) == [2]


async def test_a_resume_that_the_ring_does_not_cover_says_so(config: dict[str, Any]) -> None:
    """And starts at the oldest position that it has."""
    async with running_layer(config, ring_records=5) as layer:
        subscription = layer.subscription()
        positions = [await layer.publish("room.deep", {"n": n}) for n in range(9)]
        await (waiting := layer.subscription()).join("room.deep", after=positions[-2])
        await read(waiting, 1)
        joined = await subscription.join("room.deep", after=positions[1])
        assert not joined.covered
        assert joined.oldest.offset == positions[3].offset + 1
        assert await read(subscription, 5) == [4, 5, 6, 7, 8]


async def test_a_record_that_is_not_json_is_counted_and_passed_over(config: dict[str, Any]) -> None:
    """The reader lives on, and what stands behind the record is delivered."""
    async with running_layer(config) as layer:
        subscription = layer.subscription()
        await subscription.join("room.bad")
        producer = Producer({"bootstrap.servers": bootstrap_servers(), "partitioner": "murmur2_random"})
        for key, value in [
            ("room.bad", b"\xff{"),
            ("room.bad", b"[]"),
            ("room.bad", None),
            (b"\xff", b"{}"),
            (None, b""),
        ]:
            producer.produce(config["routes"][0]["topic"], value, key)
        producer.flush(PATIENCE)
        await layer.publish("room.bad", {"n": 1})
        assert await read(subscription, 1) == [1]
        assert layer.counters["records_invalid"] == 3


async def test_cancelling_receive_loses_nothing(config: dict[str, Any]) -> None:
    """200 cancellations under traffic: every message once, in order."""
    async with running_layer(config, capacity=1000) as layer:
        channel = await layer.new_channel()
        await layer.group_add("cancel", channel)
        seen: list[int] = []
        for n in range(200):
            await layer.group_send("cancel", {"n": n})
            task = asyncio.ensure_future(layer.receive(channel))
            await asyncio.wait([task], timeout=(n % 7) / 1000)
            if not task.cancel():
                seen.append((await task)["n"])
        async with asyncio.timeout(PATIENCE):
            while len(seen) < 200:
                seen.append((await layer.receive(channel))["n"])
        assert seen == list(range(200))


async def test_a_full_channel_is_told_to_local_senders_and_counted_for_groups(config: dict[str, Any]) -> None:
    """send raises ChannelFull; group_send never does, and other channels are not concerned."""
    async with running_layer(config, capacity=3, channel_capacity={"wide.*": 50}) as layer:
        full, wide = await layer.new_channel(), await layer.new_channel("wide")
        for _ in range(3):
            await layer.send(full, {"type": "x"})
        with pytest.raises(ChannelFull):
            await layer.send(full, {"type": "x"})
        for channel in (full, wide):
            await layer.group_add("mixed", channel)
        for n in range(10):
            await layer.group_send("mixed", {"n": n})
        async with asyncio.timeout(PATIENCE):
            assert [(await layer.receive(wide))["n"] for _ in range(10)] == list(range(10))
            assert [await layer.receive(full) for _ in range(3)] == [{"type": "x"}] * 3
        assert layer.counters["messages_over_capacity"] == 10


async def test_members_never_share_a_message(config: dict[str, Any]) -> None:
    """Each gets a dict of its own, whatever the others do to theirs."""
    async with running_layer(config) as layer:
        channels = [await layer.new_channel() for _ in range(2)]
        for channel in channels:
            await layer.group_add("room.own", channel)
        sent = {"list": [1]}
        await layer.group_send("room.own", sent)
        await layer.send(channels[0], sent)
        async with asyncio.timeout(PATIENCE):
            for _ in range(2):
                received = await layer.receive(channels[0])
                assert received == {"list": [1]}
                received["list"].append(2)
            assert await layer.receive(channels[1]) == {"list": [1]} == sent


async def test_wrong_names_and_messages_are_refused(config: dict[str, Any]) -> None:
    """As the specification says, and what is not supported says so."""
    layer = KafkaChannelLayer(**config)
    for name in ("a b", "x" * 100, "é", "", None):
        with pytest.raises(TypeError):
            await layer.group_send(cast(str, name), {})
        with pytest.raises(TypeError):
            await layer.receive(cast(str, name))
    with pytest.raises(TypeError):
        await layer.group_send("g", cast(dict[str, Any], "text"))


async def test_a_message_too_large_is_refused_before_it_is_sent(config: dict[str, Any]) -> None:
    """One of just under 1 MB goes through."""
    async with running_layer(config) as layer:
        with pytest.raises(MessageTooLarge):
            await layer.group_send("g", {"text": "x" * 1_100_000})
        with pytest.raises(NotProduced):
            await layer.publish("room.big", {"text": "x" * 1_100_000})
        await layer.publish("room.big", {"text": "x" * 1_000_000})


def test_two_event_loops_in_two_threads_each_get_everything(config: dict[str, Any]) -> None:
    """One layer object serves both; a thread's members wake in their own loop."""
    layer = KafkaChannelLayer(**config)
    joined = threading.Barrier(3)
    seen: dict[int, list[int]] = {}

    async def listen(number: int) -> None:
        subscription = layer.subscription()
        await subscription.join("room.loops")
        channel = await layer.new_channel()
        await layer.group_add("loops", channel)
        await asyncio.to_thread(joined.wait, PATIENCE)
        seen[number] = await read(subscription, 100)
        async with asyncio.timeout(PATIENCE):
            seen[number] += [(await layer.receive(channel))["n"] for _ in range(50)]
        subscription.close()

    threads = [threading.Thread(target=lambda n=n: asyncio.run(listen(n))) for n in range(2)]
    for thread in threads:
        thread.start()
    joined.wait(PATIENCE)
    for n in range(100):
        async_to_sync(layer.publish)("room.loops", {"n": n})  # a new event loop each time
        if n < 50:
            async_to_sync(layer.group_send)("loops", {"n": n})
    for thread in threads:
        thread.join(PATIENCE)
    async_to_sync(layer.close)()
    assert seen == {n: [*range(100), *range(50)] for n in range(2)}


async def test_close_leaves_nothing_behind(config: dict[str, Any]) -> None:
    """No thread stays, waiting readers are told, closing twice is fine, and the layer can be used again."""
    before = set(threading.enumerate())
    layer = KafkaChannelLayer(**config)
    channel = await layer.new_channel()
    subscription = layer.subscription()
    await subscription.join("room.close")
    waiting = [asyncio.ensure_future(layer.receive(channel)), asyncio.ensure_future(subscription.next())]
    await asyncio.sleep(0)
    await layer.close()
    await layer.close()
    assert not layer.ready
    for task in waiting:
        with pytest.raises(LayerClosed):
            await task
    left = {thread for thread in set(threading.enumerate()) - before if not thread.name.startswith("asyncio")}
    assert not left
    async with running_layer(config) as again:
        assert again.ready


async def test_a_group_that_is_passed_on_while_the_layer_closes_does_not_kill_the_reader(
    config: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A clean end is no alarm."""
    async with running_layer(config) as layer, running_layer(config) as sender:
        await layer.group_add("passed.on", "worker")
        engine = layer._engine
        engine._closed = LayerClosed("closing")  # as between the first and the last step of close
        position = await sender.publish("passed.on", {"n": 1})
        await asyncio.wait_for(engine.fanout.reach([position]), PATIENCE)
    assert "has died" not in caplog.text


async def test_eight_first_uses_at_once_make_one_connection(config: dict[str, Any]) -> None:
    """And eight different channels."""
    layer = KafkaChannelLayer(**config)
    before = threading.active_count()
    channels = await asyncio.gather(*[layer.new_channel() for _ in range(8)])
    named = [thread.name for thread in threading.enumerate() if thread.name.startswith("kafka-layer")]
    await layer.close()
    assert len(set(channels)) == 8
    assert sorted(named) == ["kafka-layer-producer", "kafka-layer-reader"], before


async def test_a_missing_topic_is_named_with_the_remedy(config: dict[str, Any]) -> None:
    """start gives up in bounded time, and the layer is not ready."""
    layer = KafkaChannelLayer(**{**config, "topic": "test-missing", "start_timeout": 1.0})
    with pytest.raises(TopicMissing, match=r"no topic test-missing.*create them"):
        await start_until_answered(layer)
    with pytest.raises(TopicMissing):
        await publish_until_acknowledged(layer, "room.1", 1, id="missing")
    assert not layer.ready
    await layer.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_uses_handles_of_its_own(config: dict[str, Any]) -> None:
    """It sends and receives, ends without a crash, and takes nothing from its parent."""
    command = [sys.executable, "-m", "tests.integration.forking", json.dumps(config)]
    result = subprocess.run(command, cwd=ROOT, timeout=60, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


async def test_positions_order_records_of_a_partition(config: dict[str, Any]) -> None:
    """A later record has a greater position."""
    async with running_layer(config) as layer:
        first = await layer.publish("room.1", {"n": 1})
        assert first < await layer.publish("room.1", {"n": 2})
        assert first > Position(first.topic, first.partition, -1)


async def test_messages_expire_in_the_layers_own_topic_and_not_in_routed_ones(config: dict[str, Any]) -> None:
    """What nobody read in time is dropped at delivery; a room's log is never dropped for its age."""
    async with running_layer(config, expiry=0.5) as layer:
        channel = await layer.new_channel()
        for group in ("expiring", "room.lasting"):
            await layer.group_add(group, channel)
        # First: a channel whose messages have expired leaves its groups.
        await layer.reach(await layer.publish("room.lasting", {"type": "routed"}))
        await layer.send(channel, {"type": "direct"})
        await layer.reach(await layer.publish("expiring", {"type": "own"}))
        await asyncio.sleep(0.6)
        async with asyncio.timeout(PATIENCE):
            assert await layer.receive(channel) == {"type": "routed"}
            await layer.send(channel, {"type": "fresh"})
            assert await layer.receive(channel) == {"type": "fresh"}


async def test_flush_forgets_channels_and_memberships(config: dict[str, Any]) -> None:
    """What waited is gone, and the group no longer reaches the channel."""
    async with running_layer(config) as layer:
        channel = await layer.new_channel()
        await layer.group_add("flushed", channel)
        await layer.send(channel, {"type": "old"})
        await layer.flush()
        await layer.group_send("flushed", {"type": "lost"})
        await layer.send(channel, {"type": "new"})
        assert await asyncio.wait_for(layer.receive(channel), PATIENCE) == {"type": "new"}


async def test_a_reader_that_dies_makes_the_layer_unready(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that has gone deaf says so: not ready, and whoever waits is told."""

    def fail(*_: object) -> None:
        raise RuntimeError("broken on purpose")

    async with running_layer(config) as layer:
        subscription = layer.subscription()
        await subscription.join("room.dead")
        monkeypatch.setattr(Fanout, "take_in", fail)
        await layer.group_send("room.dead", {})
        with pytest.raises(LayerClosed, match="reader of the channel layer has died"):
            await asyncio.wait_for(subscription.next(), PATIENCE)
        assert not layer.ready
        with pytest.raises(LayerClosed):
            await layer.subscription().join("room.dead")


async def test_after_a_fatal_error_the_producer_is_made_anew(config: dict[str, Any]) -> None:
    """Idempotence can end for a handle; the next publish goes through a new one."""
    async with running_layer(config) as layer:
        await layer.publish("room.fatal", {"n": 1})
        producer = await layer._engine.producer()
        producer._broken = True
        async with asyncio.timeout(PATIENCE):
            while not layer.counters.get("producers_replaced"):
                with suppress(PublishFailed):  # what the old handle still had under way
                    await layer.publish("room.fatal", {"n": 2})
        await layer.publish("room.fatal", {"n": 3})


async def test_a_fatal_error_that_comes_out_of_polling_ends_no_thread(config: dict[str, Any]) -> None:
    """librdkafka's wrapper raises it there; without the thread nobody would hear of any report again."""

    class Fatal:
        """The handle, which has failed for good."""

        def __init__(self, handle: Any) -> None:
            self._handle = handle

        def poll(self, timeout: float) -> int:
            raise KafkaException(KafkaError(KafkaError._FATAL, "OutOfOrderSequence", fatal=True))

        def __getattr__(self, name: str) -> Any:
            return getattr(self._handle, name)

    async with running_layer(config) as layer:
        await layer.publish("room.fatal", {"n": 1})
        producer = await layer._engine.producer()
        producer._producer = Fatal(producer._producer)
        async with asyncio.timeout(PATIENCE):
            while not layer.counters.get("producers_replaced"):  # noqa: ASYNC110 (it is counted by a thread)
                await asyncio.sleep(0.01)
        await layer.publish("room.fatal", {"n": 2})


async def test_a_wrong_client_setting_is_named(config: dict[str, Any]) -> None:
    """Also one that would break a promise of the layer."""
    layer = KafkaChannelLayer(**config, client={"no.such.setting": 1}, start_timeout=1)
    with pytest.raises(NotProduced, match=r"no\.such\.setting"):
        await layer.publish("room.1", {})
    await layer.close()
    for reserved in ("group.id", "group.instance.id", "partition.assignment.strategy"):
        with pytest.raises(ValueError, match=f"client must not contain {reserved}"):
            KafkaChannelLayer(**config, client={reserved: "mine"})

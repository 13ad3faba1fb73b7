"""The specification of channel layers (Channels 4.3, channel_layer_spec), line by line, over a real Kafka.

What the other files of the channel layer test already (cancelled receive, capacity, expiry, shared channels, processes)
is not repeated here.
"""

import asyncio
from collections.abc import Iterator
from typing import Any, cast

import pytest
from asgiref.sync import async_to_sync
from channels.exceptions import ChannelFull, MessageTooLarge
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions

from kafka_layer import KafkaChannelLayer, LayerClosed, TopicMismatch, reader
from kafka_layer.metrics import LayerCollector
from tests.integration.kafka_layer_support import (
    PATIENCE,
    Peer,
    create_config,
    create_topics,
    peer_process,
    read,
    running_layer,
    start_until_answered,
    until,
)

LONGEST = "x" * 99
# Every type that the specification names, and its corners.
MESSAGE: dict[str, Any] = {
    "type": "every.kind",
    "bytes": b"\x00\xff",
    "text": "안녕 🙂",
    "integers": [0, -(2**63), 2**63 - 1],
    "floats": [1.5, -0.0, 1e300],
    "list": [1, [2, [3]]],
    "dict": {"in": {"dict": [{"deep": True}]}},
    "none": None,
    "booleans": [True, False],
}
TEXT_MESSAGE = {key: value for key, value in MESSAGE.items() if key != "bytes"}


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return create_config()


@pytest.fixture(scope="module")
def peer(config: dict[str, Any]) -> Iterator[Peer]:
    with peer_process(config) as peer:
        yield peer


async def receive(layer: KafkaChannelLayer, channel: str) -> dict[str, Any]:
    return await asyncio.wait_for(layer.receive(channel), PATIENCE)


def test_the_layer_has_the_attributes_that_the_specification_names(config: dict[str, Any]) -> None:
    """Without connecting to anything."""
    layer = KafkaChannelLayer(**config, group_expiry=7)
    assert {"groups", "flush"} <= set(layer.extensions)
    assert (layer.ChannelFull, layer.MessageTooLarge) == (ChannelFull, MessageTooLarge)
    assert layer.group_expiry == 7


@pytest.mark.parametrize("name", ["a" * 100, "", "a b", "ключ", "a!b!c", "line\n", 7, None])
async def test_a_name_that_is_none_is_a_type_error(config: dict[str, Any], name: Any) -> None:
    """In every call that takes one, before anything is sent."""
    layer = KafkaChannelLayer(**config)
    for call, arguments in (
        (layer.send, (name, {})),
        (layer.receive, (name,)),
        (layer.group_add, ("group", name)),
        (layer.group_discard, ("group", name)),
        (layer.group_add, (name, "channel")),
        (layer.group_discard, (name, "channel")),
        (layer.group_send, (name, {})),
    ):
        with pytest.raises(TypeError):
            await call(*arguments)


async def test_names_of_99_characters_work(config: dict[str, Any]) -> None:
    """For groups and for channels without `!`."""
    async with running_layer(config) as layer:
        channel = await layer.new_channel()
        await layer.group_add(LONGEST, channel)
        await layer.group_send(LONGEST, {"type": "long"})
        assert await receive(layer, channel) == {"type": "long"}
        await layer.send(LONGEST, {"type": "long"})
        assert await receive(layer, LONGEST) == {"type": "long"}


async def test_every_kind_of_message_arrives_unchanged(config: dict[str, Any], peer: Peer) -> None:
    """By send in the process, through the log, to a group and to a channel without `!`; tuples become lists."""
    async with running_layer(config) as layer, running_layer(config) as other:
        here, there = await layer.new_channel(), await other.new_channel()
        await layer.group_add("kinds", here)
        for send in (layer.send(here, MESSAGE), layer.send(there, MESSAGE), layer.send("kinds.normal", MESSAGE)):
            await send
        assert await receive(layer, here) == MESSAGE
        assert await receive(other, there) == MESSAGE
        assert await receive(layer, "kinds.normal") == MESSAGE
        await layer.group_send("kinds", {**MESSAGE, "tuple": (1, (2,))})
        assert await receive(layer, here) == {**MESSAGE, "tuple": [1, [2]]}


async def test_groups_of_json_routes_carry_all_but_bytes(config: dict[str, Any]) -> None:
    """Bytes are refused before anything is sent."""
    async with running_layer(config) as layer:
        channel = await layer.new_channel()
        await layer.group_add("room.kinds", channel)
        await layer.group_send("room.kinds", TEXT_MESSAGE)
        assert await receive(layer, channel) == TEXT_MESSAGE
        with pytest.raises(TypeError):
            await layer.group_send("room.kinds", MESSAGE)


async def test_what_is_no_message_is_refused(config: dict[str, Any]) -> None:
    """No dict, a reserved key, a type that cannot be carried."""
    async with running_layer(config) as layer:
        channel = await layer.new_channel()
        for bad, error in (("text", TypeError), ({"__asgi_channel__": "x"}, ValueError), ({"x": object()}, TypeError)):
            with pytest.raises(error):
                await layer.send(channel, cast(dict[str, Any], bad))
            with pytest.raises(error):
                await layer.group_send("group", cast(dict[str, Any], bad))


async def test_messages_of_a_megabyte_arrive_and_larger_ones_are_refused(config: dict[str, Any]) -> None:
    """On every way; what is too large is refused before anything is produced."""
    megabyte = {"type": "big", "text": "x" * 1_000_000}
    async with running_layer(config) as layer, running_layer(config) as other:
        here, there = await layer.new_channel(), await other.new_channel()
        await layer.group_add("big", here)
        await layer.group_send("big", megabyte)
        await layer.send(there, megabyte)
        await layer.send("big.normal", megabyte)
        assert await receive(layer, here) == megabyte
        assert await receive(other, there) == megabyte
        assert await receive(layer, "big.normal") == megabyte
        await until(lambda: layer.counters.get("records_published", 0) == 3)  # the reports may come behind them
        too_large = {"x": "x" * 1_100_000}
        for send, name in ((layer.group_send, "big"), (layer.send, there), (layer.send, "big.normal")):
            with pytest.raises(MessageTooLarge):
                await send(name, too_large)
        assert layer.counters.get("records_published", 0) == 3


async def test_a_full_producer_queue_is_channel_full_for_send_and_nothing_for_group_send(
    config: dict[str, Any],
) -> None:
    """And it is counted."""
    # A long linger keeps what was produced in the queue.
    full = {"queue.buffering.max.messages": 5, "linger.ms": 4000, "batch.num.messages": 100}
    async with running_layer(config) as other, running_layer(config, client=full) as layer:
        there = await other.new_channel()
        with pytest.raises(ChannelFull):
            for _ in range(50):
                await layer.send(there, {"type": "x"})
        for _ in range(50):
            await layer.group_send("crowd", {"type": "x"})
        assert layer.counters["not_produced"] >= 40


async def test_a_channel_may_be_in_several_groups(config: dict[str, Any]) -> None:
    """Adding it again changes nothing, and it leaves one without leaving the others."""
    async with running_layer(config) as layer:
        channel = await layer.new_channel()
        for group in ("one", "two", "two", "three"):
            await layer.group_add(group, channel)
        await layer.group_discard("one", channel)
        await layer.group_discard("never.joined", channel)
        for group in ("one", "two", "three"):
            await layer.group_send(group, {"type": group})
        assert {(await receive(layer, channel))["type"] for _ in range(2)} == {"two", "three"}
        await layer.send(channel, {"type": "last"})
        assert await receive(layer, channel) == {"type": "last"}


async def test_a_group_without_members_takes_messages_and_nobody_gets_them(config: dict[str, Any]) -> None:
    """Not even who joins afterwards."""
    async with running_layer(config) as layer:
        await layer.reach(await layer.publish("empty", {"type": "before"}))
        channel = await layer.new_channel()
        await layer.group_add("empty", channel)
        await layer.group_send("empty", {"type": "after"})
        assert await receive(layer, channel) == {"type": "after"}


async def test_a_busy_channel_does_not_starve_a_quiet_one(config: dict[str, Any]) -> None:
    """What comes to the quiet one is there while the busy one is full."""
    async with running_layer(config, capacity=10) as layer:
        busy, quiet = await layer.new_channel(), await layer.new_channel()
        for channel in (busy, quiet):
            await layer.group_add(f"of.{channel.replace('!', '-')[:60]}", channel)
        await layer.group_add("busy", busy)
        await layer.group_add("quiet", quiet)
        for n in range(200):
            await layer.group_send("busy", {"n": n})
        await layer.group_send("quiet", {"n": 0})
        assert await receive(layer, quiet) == {"n": 0}
        assert [(await receive(layer, busy))["n"] for _ in range(10)] == list(range(10))


async def test_a_channel_without_mark_may_be_a_member_of_groups(config: dict[str, Any]) -> None:
    """Of own and of routed ones; two processes that added it give it each message once."""
    async with running_layer(config) as layer, running_layer(config) as other:
        for each in (layer, other):
            await each.group_add("workers", "worker")
            await each.group_add("room.work", "worker")
        for n in range(20):
            await layer.group_send("workers" if n % 2 else "room.work", {"n": n})
        seen = sorted([(await receive(layer, "worker"))["n"] for _ in range(20)])
        assert seen == list(range(20))
        await layer.send("worker", {"n": "last"})
        assert await receive(layer, "worker") == {"n": "last"}


async def test_discarding_a_channel_without_mark_works_from_any_process(config: dict[str, Any], peer: Peer) -> None:
    """After it the group reaches the channel no more."""
    async with running_layer(config) as layer:
        witness = await layer.new_channel()
        await layer.group_add("discarded", witness)
        await layer.group_add("discarded", "old.worker")
        await peer.do("group_discard", "discarded", "old.worker")
        async with asyncio.timeout(PATIENCE):
            while layer._engine.forwards.has_group("discarded"):  # until this process has read of it
                await layer.publish("discarded", {"type": "fence"})
                await layer.receive(witness)
        await layer.group_send("discarded", {"type": "unwanted"})
        await receive(layer, witness)  # what is sent on is sent before the witness gets it
        await layer.send("old.worker", {"type": "last"})
        while (message := await receive(layer, "old.worker")) != {"type": "last"}:
            assert message == {"type": "fence"}


async def test_flush_empties_the_layer_for_every_process(config: dict[str, Any], peer: Peer) -> None:
    """Messages that nobody has read, shared channels and memberships, here and elsewhere; it works on afterwards."""
    async with running_layer(config) as layer:
        here, there = await layer.new_channel(), await peer.do("join", "flushed")
        await layer.group_add("flushed", here)
        await layer.group_add("flushed", "flushed.normal")
        await layer.send(here, {"type": "old"})
        await layer.send(there, {"type": "old"})
        await layer.send("flushed.normal", {"type": "old"})
        await layer.publish("flushed", {"type": "old"})
        await layer.flush()
        # Elsewhere the channels are emptied with each partition's command, when that is read.
        own = config["topic"]
        await peer.do("reach", *[(own, p, layer._engine.fanout.read_through(own, p)) for p in range(3)])
        await layer.publish("flushed", {"type": "lost"})
        for channel in (here, there, "flushed.normal"):
            await layer.send(channel, {"type": "new"})
        assert await receive(layer, here) == {"type": "new"}
        assert await peer.do("receive", there) == {"type": "new"}
        assert await receive(layer, "flushed.normal") == {"type": "new"}


async def test_flush_leaves_the_logs_of_routes_alone(config: dict[str, Any]) -> None:
    """A room's log is not the layer's to delete."""
    async with running_layer(config) as layer:
        first = await layer.publish("room.kept", {"n": 1})
        await layer.flush()
        subscription = layer.subscription()
        assert (await subscription.join("room.kept", after=first._replace(offset=first.offset - 1))).covered
        assert await read(subscription, 1) == [1]


def test_async_to_sync_sends_from_any_number_of_short_event_loops(config: dict[str, Any]) -> None:
    """As views, task workers and scripts do: each call is a new loop, closed right behind it."""
    layer = KafkaChannelLayer(**config)

    async def open_channel() -> str:
        return await layer.new_channel()

    channel = async_to_sync(open_channel)()
    async_to_sync(layer.group_add)("short.loops", channel)
    for n in range(30):
        asyncio.run(layer.group_send("short.loops", {"n": n}))
        async_to_sync(layer.send)(channel, {"direct": n})
    received = [asyncio.run(receive(layer, channel)) for _ in range(60)]
    assert [message["n"] for message in received if "n" in message] == list(range(30))
    assert [message["direct"] for message in received if "direct" in message] == list(range(30))
    async_to_sync(layer.close)()


async def test_with_keys_nobody_else_can_read_or_write(config: dict[str, Any]) -> None:
    """What stands in Kafka is not readable; an older key still reads, and a record of a stranger is passed over."""
    own = create_config()
    async with (
        running_layer(own, symmetric_encryption_keys=["new", "old"]) as new,
        running_layer(own, symmetric_encryption_keys=["old"]) as old,
        running_layer(own) as stranger,
    ):
        mine, theirs = await new.new_channel(), await stranger.new_channel()
        await new.group_add("secret", mine)
        await stranger.group_add("secret", theirs)
        await stranger.publish("secret", {"type": "forged"})
        await old.publish("secret", {"type": "rotated", "bytes": b"\x00"})
        assert await receive(new, mine) == {"type": "rotated", "bytes": b"\x00"}
        assert new.counters["records_invalid"] == 1
        position = await new.publish("secret", {"type": "words"})
        assert b"words" not in _value_at(own, position)


def _value_at(config: dict[str, Any], position: Any) -> bytes:
    consumer = Consumer({"bootstrap.servers": config["bootstrap_servers"], "group.id": "look"})
    consumer.assign([TopicPartition(*position)])
    message = consumer.poll(PATIENCE)
    consumer.close()
    assert message is not None
    return message.value() or b""


async def test_a_megabyte_also_fits_when_it_is_encrypted(config: dict[str, Any]) -> None:
    """Encryption does not make it a third longer."""
    async with running_layer(config, symmetric_encryption_keys=["key"]) as layer:
        channel = await layer.new_channel()
        await layer.group_add("big.secret", channel)
        await layer.group_send("big.secret", {"text": "x" * 1_000_000})
        assert len((await receive(layer, channel))["text"]) == 1_000_000


async def test_another_partition_count_than_agreed_is_refused_at_start(config: dict[str, Any]) -> None:
    """With the remedy."""
    layer = KafkaChannelLayer(**config, partitions={config["topic"]: 5}, start_timeout=1)
    with pytest.raises(TopicMismatch, match=r"has 3 partitions and must have 5.*Create it anew"):
        await start_until_answered(layer)
    assert not layer.ready
    await layer.close()


@pytest.mark.parametrize("change", ["recreated", "more partitions"])
async def test_a_topic_that_changes_at_run_time_makes_the_layer_unready(
    monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Whoever waits is told why, and nothing of the new topic is taken for the old one's."""
    monkeypatch.setattr(reader, "SWEEP_INTERVAL", 0.1)
    own = create_config()
    topic = own["routes"][0]["topic"]
    async with running_layer(own) as layer:
        subscription = layer.subscription()
        await subscription.join("room.1")
        await asyncio.to_thread(_change, own, topic, change)
        with pytest.raises(LayerClosed, match=topic):
            await asyncio.wait_for(subscription.next(), PATIENCE)
        assert not layer.ready


def _change(config: dict[str, Any], topic: str, change: str) -> None:
    admin = AdminClient({"bootstrap.servers": config["bootstrap_servers"]})
    if change == "more partitions":
        admin.create_partitions([NewPartitions(topic, 4)])[topic].result(PATIENCE)
        return
    admin.delete_topics([topic])[topic].result(PATIENCE)
    create_topics(config["bootstrap_servers"], [topic])


async def test_the_figures_are_there_for_prometheus(config: dict[str, Any]) -> None:
    """Counters, gauges, and how long publishing took."""
    async with running_layer(config) as layer:
        subscription = layer.subscription()
        await subscription.join("room.figures")
        await layer.publish("room.figures", {"n": 1})
        await read(subscription, 1)
        metrics = {metric.name: metric for metric in LayerCollector(layer).collect()}
        assert metrics["kafka_layer_ready"].samples[0].value == 1
        assert metrics["kafka_layer_members"].samples[0].value == 1
        assert metrics["kafka_layer_ring_records"].samples[0].value >= 1
        assert 0 <= metrics["kafka_layer_lag_seconds"].samples[0].value < PATIENCE
        events = {sample.labels["event"]: sample.value for sample in metrics["kafka_layer_events"].samples}
        assert events["records_read"] >= 1
        assert events["messages_delivered"] == 1
        counts = {s.name: s.value for s in metrics["kafka_layer_publish_seconds"].samples if "le" not in s.labels}
        assert counts["kafka_layer_publish_seconds_count"] == 1
        assert counts["kafka_layer_publish_seconds_sum"] > 0

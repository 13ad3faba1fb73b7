"""What the channel layer does when Kafka or a process does not go on as usual."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from queue import SimpleQueue
from threading import Event
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from devstack.stack import DevStack
from kafka_layer import (
    BrokerUnavailable,
    KafkaChannelLayer,
    LayerClosed,
    NotProduced,
    PublishFailed,
    TopicMissing,
    producer,
    reader,
)
from kafka_layer.counters import Counters
from kafka_layer.fanout import Fanout
from tests.integration.kafka_layer_support import (
    PATIENCE,
    bootstrap_servers,
    create_config,
    peer_process,
    publish_until_acknowledged,
    read,
    running_layer,
    until,
)
from tests.integration.kafka_layer_traffic import DEADLINE, OUTAGE, REPLAY, Traffic

pytestmark = pytest.mark.timeout(300)  # seconds; a broker starts slowly on a busy machine


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevStack]:
    """A Kafka of its own, to be broken."""
    with DevStack(tmp_path_factory.mktemp("broker"), services=("kafka",)) as stack:
        yield stack


async def test_a_process_that_slept_past_the_retention_is_told_of_the_gap() -> None:
    """Records deleted before it read them are a Gap for its members, and then the log goes on from its start."""
    config = create_config()
    with peer_process(config) as peer:
        await peer.do("subscribe", "room.gap")
        async with running_layer(config) as layer:
            peer.pause()
            try:
                offsets = [(await layer.publish("room.gap", {"n": n})).offset for n in range(100)]
                partition = TopicPartition(config["routes"][0]["topic"], layer.partition("room.gap"), offsets[90])
                admin = AdminClient({"bootstrap.servers": config["bootstrap_servers"]})
                await asyncio.to_thread(admin.delete_records([partition])[partition].result, PATIENCE)
            finally:
                peer.resume()
        seen, gaps = [], []
        while seen[-1:] != [99]:
            kind, *numbers = await peer.do("next")
            if kind == "gap":
                gaps.append(numbers)
            else:
                seen += numbers
        assert gaps == [[offsets[seen.index(90)], offsets[90]]]
        assert seen[-10:] == list(range(90, 100))
        assert seen[:-10] == list(range(len(seen) - 10))


@pytest.mark.parametrize("fault", ["stop", "pause", "kill"])
async def test_after_a_brokers_outage_members_go_on_and_miss_nothing(
    broker: DevStack, fault: str, record_property: Callable[[str, object], None]
) -> None:
    """Stopped or hanging for 5 s, or killed, under traffic: all is delivered once, in order and without a gap.

    The messages have ids: a producer that starts anew after time-outs may store once more what the broker had taken
    without being able to say so, and the readers drop it.
    """
    config = create_config(broker.addresses()["KAFKA_BOOTSTRAP_SERVERS"])
    async with running_layer(config, replay=REPLAY) as layer:
        traffic = Traffic(layer, "room.outage", rate=200)
        async with traffic.running():
            await asyncio.to_thread(getattr(broker, fault), "kafka")
            if fault == "kill":
                await asyncio.to_thread(broker.wait_ready)
            else:
                await asyncio.sleep(OUTAGE)
                await asyncio.to_thread(broker.start if fault == "stop" else broker.resume, "kafka")
        traffic.check()
    traffic.report(f"one broker, {fault}", record_property)


async def test_channels_go_on_after_a_broker_hung(broker: DevStack) -> None:
    """group_send and send do not wait for Kafka: all that they sent while it hung comes once, in order."""
    config = create_config(broker.addresses()["KAFKA_BOOTSTRAP_SERVERS"])
    patient = {**config, "client": {"message.timeout.ms": 60_000}}  # nothing is given up in so short a time
    sent: list[int] = []
    direct: list[int] = []
    grouped: list[int] = []

    async def keep_sending(sender: KafkaChannelLayer, channel: str) -> None:
        for n in count():
            await sender.send(channel, {"n": n})
            await sender.group_send("crowd", {"n": n})
            sent.append(n)
            await asyncio.sleep(0.005)  # the rate

    async def keep_receiving(layer: KafkaChannelLayer, channel: str, seen: list[int]) -> None:
        while True:
            seen.append((await layer.receive(channel))["n"])

    async with running_layer(patient) as sender, running_layer(config, capacity=10_000) as layer:
        addressed, member = await layer.new_channel(), await layer.new_channel()
        await layer.group_add("crowd", member)
        tasks = [
            asyncio.ensure_future(keep_sending(sender, addressed)),
            asyncio.ensure_future(keep_receiving(layer, addressed, direct)),
            asyncio.ensure_future(keep_receiving(layer, member, grouped)),
        ]
        await hang(broker)
        behind = len(sent)
        async with asyncio.timeout(DEADLINE):
            while not (direct and grouped) or min(direct[-1], grouped[-1]) < behind:
                await asyncio.wait(tasks, timeout=0.05)
        for task in tasks:
            task.cancel()
        for seen in (direct, grouped):
            assert seen == list(range(len(seen)))


async def test_what_is_lost_while_a_broker_hangs_is_counted(broker: DevStack) -> None:
    """Nobody waits for the outcome of group_send and send."""
    config = create_config(broker.addresses()["KAFKA_BOOTSTRAP_SERVERS"])
    async with running_layer(config, client={"message.timeout.ms": 1000}) as sender, running_layer(config) as layer:
        channel = await layer.new_channel()
        await publish_until_acknowledged(sender, "crowd", 0, id="before")
        failed = sender.counters.get("publishes_failed", 0)
        await asyncio.to_thread(broker.pause, "kafka")
        try:
            await sender.send(channel, {"n": 1})
            await sender.group_send("crowd", {"n": 1})
            await until(lambda: sender.counters.get("publishes_failed", 0) >= failed + 2)
        finally:
            await asyncio.to_thread(broker.resume, "kafka")


async def test_an_unknown_outcome_and_the_same_id_again_are_seen_once(broker: DevStack) -> None:
    """The broker takes what it was sent before it hung, although its sender had given up on it."""
    config = create_config(broker.addresses()["KAFKA_BOOTSTRAP_SERVERS"])
    async with running_layer(config, client={"message.timeout.ms": 1000}) as layer:
        subscription = layer.subscription()
        await subscription.join("room.again")
        await publish_until_acknowledged(layer, "room.again", 1, id="before")
        await asyncio.to_thread(broker.pause, "kafka")
        try:
            with pytest.raises(PublishFailed):
                await layer.publish("room.again", {"n": 2}, id="unknown")
        finally:
            await asyncio.to_thread(broker.resume, "kafka")
        await publish_until_acknowledged(layer, "room.again", 2, id="unknown")
        await publish_until_acknowledged(layer, "room.again", 3, id="behind")
        assert await read(subscription, 3) == [1, 2, 3]


async def test_a_full_queue_refuses_and_keeps_what_it_took(broker: DevStack) -> None:
    """While Kafka hangs: a refused publish is never seen, all others are, in order."""
    config = create_config(broker.addresses()["KAFKA_BOOTSTRAP_SERVERS"])
    client = {"queue.buffering.max.messages": 50, "message.timeout.ms": 60_000}
    async with running_layer(config, client=client) as layer:
        subscription = layer.subscription()
        await subscription.join("room.full")
        await layer.publish("room.full", {"n": -1})
        await asyncio.to_thread(broker.pause, "kafka")
        try:
            sends = [asyncio.ensure_future(layer.publish("room.full", {"n": n})) for n in range(100)]
            refused, _ = await asyncio.wait(sends, timeout=PATIENCE, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            await asyncio.to_thread(broker.resume, "kafka")
        assert len(refused) == 50
        assert all(isinstance(send.exception(), NotProduced) for send in refused)
        await asyncio.wait_for(asyncio.gather(*sends[:50]), PATIENCE)
        await layer.publish("room.full", {"n": 100})
        assert await read(subscription, 52) == [-1, *range(50), 100]


async def hang(broker: DevStack) -> None:
    await asyncio.to_thread(broker.pause, "kafka")
    try:
        await asyncio.sleep(OUTAGE)
    finally:
        await asyncio.to_thread(broker.resume, "kafka")


@pytest.mark.parametrize(("servers", "replaced"), [(None, True), ("127.0.0.1:1", False)])
async def test_a_producer_is_replaced_when_another_one_would_reach_kafka(
    monkeypatch: pytest.MonkeyPatch, servers: str | None, replaced: bool
) -> None:
    """Nothing but time-outs: the handle is stuck where Kafka answers, and may still deliver where it is away."""
    monkeypatch.setattr(producer, "STUCK_AFTER", 0.1)
    counters = Counters(logging.getLogger("test"))
    settings = {
        "bootstrap.servers": servers or bootstrap_servers(),
        "message.timeout.ms": 200,
        "topic.metadata.propagation.max.ms": 60_000,
    }
    stuck = producer.RecordProducer({**producer.SETTINGS, **settings}, counters)
    asked: list[bool] = []
    reaches_kafka = producer.reaches_kafka
    monkeypatch.setattr(producer, "reaches_kafka", lambda handle: asked.append(reaches_kafka(handle)) or asked[-1])
    async with asyncio.timeout(PATIENCE):
        while replaced not in asked:  # time out one after the other, since there is no such topic
            with pytest.raises(PublishFailed):
                await stuck.produce(("test-no-such-topic", 0), "key", b"", {})
    await asyncio.to_thread(stuck.close)
    assert bool(counters.snapshot().get("producers_replaced")) == replaced


async def test_a_producer_that_cannot_be_made_anew_at_once_is_made_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the machine has no thread to give: whoever waits for a report must not wait for ever."""
    counters = Counters(logging.getLogger("test"))
    config = create_config()
    settings = {**producer.SETTINGS, "bootstrap.servers": config["bootstrap_servers"]}
    records = producer.RecordProducer(settings, counters)
    refusals = iter([KafkaException("no thread for it")])

    def make(*given: Any, **more: Any) -> Producer:
        for refusal in refusals:
            raise refusal
        return Producer(*given, **more)

    monkeypatch.setattr(producer, "Producer", make)
    records._broken = True
    async with asyncio.timeout(PATIENCE):
        while not counters.snapshot().get("producers_replaced"):
            with suppress(PublishFailed):  # what the old handle still had under way
                await records.produce((config["topic"], 0), "key", b"", {})
        await records.produce((config["topic"], 0), "key", b"", {})
    await asyncio.to_thread(records.close)
    assert counters.snapshot()["producers_replaced"] == 1


async def test_what_comes_to_a_producer_that_has_ended_is_refused() -> None:
    """As from another thread while the layer is closed: nobody would ever report what became of it."""
    counters = Counters(logging.getLogger("test"))
    ended = producer.RecordProducer({**producer.SETTINGS, "bootstrap.servers": bootstrap_servers()}, counters)
    await asyncio.to_thread(ended.close)
    with pytest.raises(LayerClosed):
        await asyncio.wait_for(ended.produce(("test-closed", 0), "key", b"", {}), PATIENCE)


async def test_many_first_sends_without_a_broker_are_refused_together() -> None:
    """Kafka is asked once for all that came meanwhile: the last one waits no longer than the first."""
    layer = KafkaChannelLayer("127.0.0.1:1", topic="t")
    resolves: list[float] = []
    all_have_asked = Event()
    topics = layer._engine._topics
    resolve = topics.resolve

    def resolve_later(timeout: float) -> Any:
        resolves.append(timeout)
        all_have_asked.wait(PATIENCE)
        return resolve(0.2)

    topics.resolve = resolve_later  # type: ignore[method-assign]
    sends = [asyncio.ensure_future(layer.group_send("g", {"n": n})) for n in range(50)]
    await asyncio.wait(sends, timeout=0.01)  # each has made its first step
    all_have_asked.set()
    outcomes = await asyncio.gather(*sends, return_exceptions=True)
    assert all(isinstance(outcome, BrokerUnavailable) for outcome in outcomes)
    assert len(resolves) == 1
    await layer.close()


async def test_an_unreachable_broker_is_named_in_bounded_time() -> None:
    """start says which one, and the layer stays unready."""
    layer = KafkaChannelLayer("127.0.0.1:1", topic="t", start_timeout=0.5)
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1"):
        await layer.start()
    assert not layer.ready
    await layer.close()


async def test_a_layer_that_found_no_broker_at_its_start_recovers_by_itself(broker: DevStack) -> None:
    """Unready and saying why until Kafka is there; then ready without a hand."""
    config = create_config(broker.addresses()["KAFKA_BOOTSTRAP_SERVERS"])
    await asyncio.to_thread(broker.stop, "kafka")
    layer = KafkaChannelLayer(**config, start_timeout=0.5)
    try:
        with pytest.raises(BrokerUnavailable):
            await layer.start()
        assert not layer.ready
    finally:
        await asyncio.to_thread(broker.start, "kafka")
    # A broker that has just come back may not know its topics for a moment.
    async with asyncio.timeout(PATIENCE):
        while not layer.ready:
            with suppress(BrokerUnavailable, TopicMissing):
                await layer.start()
    subscription = layer.subscription()
    await subscription.join("room.late")
    await publish_until_acknowledged(layer, "room.late", 1, id="late")
    assert await read(subscription, 1) == [1]
    await layer.close()


async def test_a_reader_that_gets_nothing_although_there_is_more_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when its client has lost a broker for good: the members miss nothing, and the figures tell of it."""
    consumers: list[Consumer] = []
    open_consumer = reader.Reader._open
    monkeypatch.setattr(reader.Reader, "_open", lambda *given: consumers.append(open_consumer(*given)) or consumers[-1])
    async with running_layer(create_config()) as layer:
        subscription = layer.subscription()
        await subscription.join("room.deaf")
        await layer.publish("room.deaf", {"n": 0})
        assert await read(subscription, 1) == [0]
        consumers[-1].pause(consumers[-1].assignment())
        for n in range(1, 4):
            await layer.publish("room.deaf", {"n": n})
        monkeypatch.setattr(reader, "SWEEP_INTERVAL", 0.2)
        await until(lambda: layer.counters.get("reader_restarts", 0) > 0)
        monkeypatch.setattr(reader, "SWEEP_INTERVAL", 5.0)
        assert await read(subscription, 3) == [1, 2, 3]


async def test_a_reader_to_which_nothing_comes_begins_anew_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Kafka answers slowly, a consumer must have the time to get to its first record."""
    open_consumer = reader.Reader._open

    def open_deaf(self: reader.Reader, starts: Any) -> Consumer:
        consumer = open_consumer(self, starts)
        consumer.pause(consumer.assignment())
        return consumer

    monkeypatch.setattr(reader.Reader, "_open", open_deaf)
    looks = look_often(monkeypatch)
    async with running_layer(create_config()) as layer:
        await layer.publish("room.deaf", {"n": 1})
        waits = [await asyncio.to_thread(looks_until_deaf, looks) for _ in range(3)]
    assert [wait >= least for wait, least in zip(waits, (2, 3, 5), strict=True)] == [True] * 3


def looks_until_deaf(looks: SimpleQueue[bool]) -> int:
    return next(n for n in count(1) if looks.get(timeout=PATIENCE))


async def test_the_lag_is_nothing_at_the_end_also_while_no_fetch_comes_back_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As under steady traffic, when each fetch brings something."""
    monkeypatch.setitem(reader.SETTINGS, "fetch.wait.max.ms", 40_000)  # none comes back before this test has ended
    async with running_layer(create_config()) as layer:
        subscription = layer.subscription()
        await subscription.join("room.lag")
        await layer.publish("room.lag", {"n": 1})
        assert await read(subscription, 1) == [1]
        async with asyncio.timeout(PATIENCE):
            while layer.gauges["lag_seconds"]:
                await layer.publish("room.lag", {"n": 2})


def look_often(monkeypatch: pytest.MonkeyPatch) -> SimpleQueue[bool]:
    """Whether each look of a reader at the ends found it deaf."""
    looks: SimpleQueue[bool] = SimpleQueue()
    is_deaf = reader.Reader._is_deaf

    def look(self: reader.Reader) -> bool:
        found = is_deaf(self)
        looks.put(found)
        return found

    monkeypatch.setattr(reader, "SWEEP_INTERVAL", 0.1)
    monkeypatch.setattr(reader.Reader, "_is_deaf", look)
    return looks


async def test_an_open_transaction_of_another_producer_is_neither_an_outage_nor_in_the_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it wrote, and what stands behind it, is not to be read yet: the reader is ready at the place before it."""
    config = create_config()
    foreign = Producer(
        {
            "bootstrap.servers": config["bootstrap_servers"],
            "transactional.id": uuid4().hex,
            "partitioner": "murmur2_random",
        }
    )
    await asyncio.to_thread(foreign.init_transactions, PATIENCE)
    foreign.begin_transaction()
    foreign.produce(config["routes"][0]["topic"], b'{"n":1}', "room.foreign")
    await asyncio.to_thread(foreign.flush, PATIENCE)
    looks = look_often(monkeypatch)
    async with running_layer(config, start_timeout=PATIENCE) as layer:
        subscription = layer.subscription()
        await subscription.join("room.foreign")
        assert not any([await asyncio.to_thread(looks.get, timeout=PATIENCE) for _ in range(6)])
        monkeypatch.setattr(reader, "SWEEP_INTERVAL", 5.0)  # what is committed now needs its time to come
        await asyncio.to_thread(foreign.commit_transaction, PATIENCE)
        assert await read(subscription, 1) == [1]


def has_fetched_all(consumer: Consumer) -> bool:
    """Whether something of each partition has come into the client, which knows its end then."""
    ends = [consumer.get_watermark_offsets(each, cached=True) for each in consumer.assignment()]
    return all(end is not None and end[1] >= 0 for end in ends)


async def test_a_slow_process_with_much_to_take_in_is_not_taken_for_deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one partition's records wait behind another's, beginning anew would only throw away what was fetched."""
    config = create_config()
    async with running_layer(config) as layer:
        groups = {layer.partition(f"room.{n}"): f"room.{n}" for n in range(20)}
        await asyncio.gather(*[layer.publish(group, {"n": n}) for n in range(40) for group in groups.values()])
    consumers: list[Consumer] = []
    open_consumer, take_in = reader.Reader._open, Fanout.take_in
    monkeypatch.setattr(reader.Reader, "_open", lambda *given: consumers.append(open_consumer(*given)) or consumers[-1])
    looks = look_often(monkeypatch)

    def take_in_slowly(fanout: Fanout, messages: Any) -> None:
        end = time.monotonic() + PATIENCE
        while not has_fetched_all(consumers[-1]) and time.monotonic() < end:
            time.sleep(0.01)
        monkeypatch.setattr(reader, "SWEEP_INTERVAL", 0.1)
        time.sleep(0.05)  # a process that gets little of the processor
        take_in(fanout, messages)

    monkeypatch.setattr(reader, "SWEEP_INTERVAL", 5.0)
    monkeypatch.setattr(reader, "BATCH", 1)
    monkeypatch.setattr(Fanout, "take_in", take_in_slowly)
    async with running_layer(config, start_timeout=PATIENCE):
        found = [looks.get() for _ in range(looks.qsize())]
    assert len(found) > 3
    assert not any(found)

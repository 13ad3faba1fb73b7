"""What the channel layer does when Kafka or a process does not go on as usual."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from itertools import count

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from devstack.stack import DevStack
from kafka_layer import Batch, BrokerUnavailable, KafkaChannelLayer, PublishFailed, Subscription
from tests.integration.kafka_layer_support import PATIENCE, create_config, peer_process, read, running_layer


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


@pytest.mark.parametrize("way", ["stop", "kill"])
async def test_after_a_broker_restart_members_go_on_and_miss_nothing(broker: DevStack, way: str) -> None:
    """Under traffic: what was acknowledged is delivered once, in order and without a gap, to members that stayed.

    The messages have ids: a producer that starts anew after time-outs may store once more what the broker had taken
    without being able to say so, and the readers drop it.
    """
    config = create_config(broker.addresses()["KAFKA_BOOTSTRAP_SERVERS"])
    acknowledged: list[int] = []
    seen: list[int] = []

    async def publish_until(finished: asyncio.Event) -> None:
        async def publish(n: int) -> None:
            with suppress(PublishFailed):
                await layer.publish("room.restart", {"n": n}, id=str(n))
                acknowledged.append(n)

        async with asyncio.TaskGroup() as sends:
            for n in count():
                sends.create_task(publish(n))
                with suppress(TimeoutError):
                    await asyncio.wait_for(finished.wait(), 0.01)
                    return

    async def keep_reading(subscription: Subscription) -> None:
        while True:
            item = await subscription.next()
            assert isinstance(item, Batch), item
            seen.extend(record.message["n"] for record in item.records)

    async with running_layer(config) as layer:
        subscription = layer.subscription()
        await subscription.join("room.restart")
        reading = asyncio.ensure_future(keep_reading(subscription))
        finished = asyncio.Event()
        publishing = asyncio.ensure_future(publish_until(finished))
        await layer.publish("room.restart", {"n": -1})
        await asyncio.to_thread(getattr(broker, way), "kafka")
        await asyncio.to_thread(broker.start, "kafka")
        async with asyncio.timeout(60):
            while True:
                with suppress(PublishFailed):
                    await layer.publish("room.restart", {"n": -2})
                    break
        finished.set()
        await publishing
        await layer.publish("room.restart", {"n": -3})
        async with asyncio.timeout(PATIENCE):
            while seen[-1:] != [-3]:
                await asyncio.wait([reading], timeout=0.01)
        reading.cancel()
    numbers = [n for n in seen if n >= 0]
    assert numbers == sorted(set(numbers))
    assert set(acknowledged) <= set(numbers)
    assert layer.counters.get("gaps", 0) == 0


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
    async with asyncio.timeout(PATIENCE):
        while not layer.ready:
            with suppress(BrokerUnavailable):
                await layer.start()
    subscription = layer.subscription()
    await subscription.join("room.late")
    await layer.publish("room.late", {"n": 1})
    assert await read(subscription, 1) == [1]
    await layer.close()

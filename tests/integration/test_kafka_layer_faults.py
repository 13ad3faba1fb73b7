"""What the channel layer does when Kafka or a process does not go on as usual."""

import asyncio

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from kafka_layer import BrokerUnavailable, KafkaChannelLayer
from tests.integration.kafka_layer_support import PATIENCE, create_config, peer_process, running_layer


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


async def test_an_unreachable_broker_is_named_in_bounded_time() -> None:
    """start says which one, and the layer stays unready."""
    layer = KafkaChannelLayer("127.0.0.1:1", topic="t", start_timeout=0.5)
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1"):
        await layer.start()
    assert not layer.ready
    await layer.close()

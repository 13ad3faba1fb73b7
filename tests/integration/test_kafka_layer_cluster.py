"""What the channel layer does when brokers of a cluster of three fail: what was acknowledged is on another one too."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from devstack.cluster import KafkaCluster
from kafka_layer import KafkaChannelLayer
from tests.integration.kafka_layer_support import create_config, running_layer
from tests.integration.kafka_layer_traffic import DEADLINE, OUTAGE, REPLAY, Traffic
from tests.stack import CLUSTER

GROUP = "room.cluster"
pytestmark = pytest.mark.timeout(600)  # seconds; three brokers start slowly on a busy machine


@pytest.fixture(scope="module")
def cluster() -> Iterator[KafkaCluster]:
    with CLUSTER:
        yield CLUSTER


@pytest.fixture(scope="module")
def config(cluster: KafkaCluster) -> dict[str, Any]:
    return create_config(cluster.bootstrap_servers)


async def leader(cluster: KafkaCluster, layer: KafkaChannelLayer) -> str:
    position = layer.end(GROUP)
    return await asyncio.to_thread(cluster.leader, position.topic, position.partition)


async def test_a_broker_killed_under_a_thousand_messages_a_second_costs_none(
    cluster: KafkaCluster, config: dict[str, Any], record_property: Callable[[str, object], None]
) -> None:
    """The partition's leader, which comes back: each message is delivered once, in order, without a gap."""
    async with running_layer(config, replay=REPLAY) as layer:
        traffic = Traffic(layer, GROUP, rate=1000)
        async with traffic.running():
            await asyncio.to_thread(cluster.kill, await leader(cluster, layer))
            await traffic.progress()
            await asyncio.to_thread(cluster.wait_ready)
        traffic.check()
    traffic.report("leader of three brokers killed", record_property)


async def test_a_leader_that_hangs_is_replaced_and_cannot_disturb_when_it_comes_back(
    cluster: KafkaCluster, config: dict[str, Any], record_property: Callable[[str, object], None]
) -> None:
    """It was a leader in its own eyes, and what it takes then is acknowledged to nobody."""
    async with running_layer(config, replay=REPLAY) as layer:
        traffic = Traffic(layer, GROUP, rate=200)
        async with traffic.running():
            hanging = await leader(cluster, layer)
            await asyncio.to_thread(cluster.pause, hanging)
            try:
                await asyncio.sleep(OUTAGE)
            finally:
                await asyncio.to_thread(cluster.resume, hanging)
        traffic.check()
    traffic.report("leader of three brokers paused for 5 s", record_property)


async def test_a_partition_may_move_to_another_leader_and_back(
    cluster: KafkaCluster, config: dict[str, Any], record_property: Callable[[str, object], None]
) -> None:
    """By a clean stop, as in a rolling update, and by an election."""
    async with running_layer(config, replay=REPLAY) as layer:
        traffic = Traffic(layer, GROUP, rate=200)
        async with traffic.running():
            first = await leader(cluster, layer)
            await asyncio.to_thread(cluster.stop, first)
            await traffic.progress()
            async with asyncio.timeout(DEADLINE):
                while await leader(cluster, layer) == first:  # in the eyes of a broker that has not heard yet
                    pass
            await asyncio.to_thread(cluster.start, first)
            topic, partition, _ = layer.end(GROUP)
            await asyncio.to_thread(cluster.prefer_leader, topic, partition)
            await traffic.progress()
        traffic.check()
    traffic.report("leader of three brokers stopped and back", record_property)


async def test_while_two_of_three_brokers_are_dead_nothing_is_acknowledged_and_all_of_it_follows(
    cluster: KafkaCluster, config: dict[str, Any], record_property: Callable[[str, object], None]
) -> None:
    """One broker alone is no safe place: the outcome is unknown until a second one is back."""
    async with running_layer(config, replay=REPLAY) as layer:
        traffic = Traffic(layer, GROUP, rate=200)
        async with traffic.running():
            survivor = await leader(cluster, layer)
            for broker in set(cluster.services) - {survivor}:
                await asyncio.to_thread(cluster.kill, broker)
            await asyncio.to_thread(cluster.wait_ready)
        traffic.check()
    traffic.report("two of three brokers killed", record_property)

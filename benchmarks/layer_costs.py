"""What the channel layer costs a process that every record passes: `python -m benchmarks.layer_costs`.

Writes its table into kafka_layer/README.md. Each figure is taken in a new process, as CPU time and resident memory, so
that other work on the machine does not change it much. Takes about two minutes.
"""

import argparse
import asyncio
import gc
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import msgpack
from confluent_kafka import Producer

from benchmarks.contestants import message
from benchmarks.report import conditions, write_between_markers
from benchmarks.servers import Servers, add_arguments, create_topics, delete_topics, running_servers
from benchmarks.trial import process, resident_bytes
from kafka_layer import KafkaChannelLayer
from kafka_layer.partition import partition_of
from loadtest.report.markdown import table

RECORDS = 200_000
NAMES = 1000  # groups that those records are for
GROUPS = 10_000
FEW, MANY = 3, 100  # partitions of each of two topics
SETTLING, OBSERVED = 2.0, 5.0  # seconds


class Cost(NamedTuple):
    cpu: float  # seconds
    memory: int  # bytes
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    with running_servers(arguments) as servers:
        few, many = (create_topics(servers.kafka, 2, partitions=partitions) for partitions in (FEW, MANY))
        rows = list(measure(servers, few, many))
        kafka = "Apache Kafka (one broker)"
        text = conditions(["channels", "confluent-kafka", "msgpack"], kafka, load)
        write_between_markers("costs", f"{text}\n\n{table(['what', 'CPU', 'memory'], rows)}")
        delete_topics(servers.kafka, [*few, *many])


def measure(servers: Servers, few: list[str], many: list[str]) -> Iterator[list[str]]:
    started, idle = cost(servers, few, start), cost(servers, few, stay_idle)
    yield [f"a started layer, two topics with {FEW} partitions each", f"{share(idle)} of a core", megabytes(started)]
    started_with_many, idle_with_many = cost(servers, many, start), cost(servers, many, stay_idle)
    more = 2 * (MANY - FEW)
    yield [
        f"one partition more, without traffic (of {more})",
        f"{(idle_with_many.cpu / idle_with_many.seconds - idle.cpu / idle.seconds) / more:.3%} of a core",
        kilobytes(started_with_many.memory - started.memory, more),
    ]
    routed, own = few
    for what, topic, prefix in (
        ("a record of the layer's own topic that nobody here wants", own, "other"),
        ("a record of a routed topic, kept in its ring", routed, "room"),
    ):
        read = cost(servers, few, read_all, partial(produce, servers, topic, prefix))
        kept = kilobytes(read.memory, RECORDS) if prefix == "room" else "none"
        yield [what, f"{read.cpu / RECORDS * 1e6:.1f} µs", kept]
    for what, measured in (
        ("a group with one subscription", join_groups),
        ("a group with one plain channel", add_to_groups),
    ):
        joined = cost(servers, few, measured)
        yield [what, f"{joined.cpu / GROUPS * 1e6:.0f} µs to join", kilobytes(joined.memory, GROUPS)]


def share(cost: Cost) -> str:
    return f"{cost.cpu / cost.seconds:.1%}"


def megabytes(cost: Cost) -> str:
    return f"{cost.memory / 1e6:.0f} MB"


def kilobytes(memory: int, number: int) -> str:
    return f"{memory / number / 1e3:.1f} KB"


def cost(
    servers: Servers, topics: list[str], measured: Callable[..., Awaitable[Any]], feed: Callable[[], None] | None = None
) -> Cost:
    """What `measured` costs in a process of its own; `feed` runs here meanwhile."""
    with process(run, servers, topics, measured) as (_, child):
        if feed is not None:
            child.recv()
            feed()
        return Cost(*child.recv())


def produce(servers: Servers, topic: str, prefix: str) -> None:
    producer = Producer({"bootstrap.servers": servers.kafka, "compression.type": "lz4", "linger.ms": 20})
    for n in range(RECORDS):
        key = f"{prefix}.{n % NAMES}"
        value = msgpack.packb(message(n))
        while True:
            try:
                producer.produce(topic, value, key, partition=partition_of(key, FEW))
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush(60)


# In a process of its own


def run(servers: Servers, topics: list[str], measured: Callable[..., Awaitable[Any]], parent: Connection) -> None:
    asyncio.run(run_measured(servers, topics, measured, parent))


async def run_measured(
    servers: Servers, topics: list[str], measured: Callable[..., Awaitable[Any]], parent: Connection
) -> None:
    routed, own = topics
    layer = KafkaChannelLayer(servers.kafka, topic=own, routes=[{"pattern": "room.*", "topic": routed}], capacity=1000)
    try:
        parent.send(await measured(layer, parent))
    finally:
        await layer.close()


async def observe(work: Callable[[], Awaitable[None]]) -> Cost:
    gc.collect()
    memory, cpu, began = resident_bytes(os.getpid()), time.process_time(), time.monotonic()
    await work()
    took, cpu = time.monotonic() - began, time.process_time() - cpu
    gc.collect()
    return Cost(cpu, resident_bytes(os.getpid()) - memory, took)


async def start(layer: KafkaChannelLayer, _: Connection) -> Cost:
    async def work() -> None:
        await layer.start()
        await asyncio.sleep(SETTLING)

    return await observe(work)


async def stay_idle(layer: KafkaChannelLayer, _: Connection) -> Cost:
    await layer.start()
    await asyncio.sleep(SETTLING)
    return await observe(lambda: asyncio.sleep(OBSERVED))


async def read_all(layer: KafkaChannelLayer, parent: Connection) -> Cost:
    """The records come as fast as another process produces them."""
    await layer.start()
    await asyncio.sleep(SETTLING)
    before = layer.counters.get("records_read", 0)

    async def work() -> None:
        parent.send("ready")
        while layer.counters.get("records_read", 0) - before < RECORDS:  # noqa: ASYNC110 (the reader is a thread)
            await asyncio.sleep(0.1)

    return await observe(work)


async def join_groups(layer: KafkaChannelLayer, _: Connection) -> Cost:
    await layer.start()
    members = []

    async def work() -> None:
        for n in range(GROUPS):
            subscription = layer.subscription()
            await subscription.join(f"room.{n}")
            members.append(subscription)

    return await observe(work)


async def add_to_groups(layer: KafkaChannelLayer, _: Connection) -> Cost:
    await layer.start()

    async def work() -> None:
        for n in range(GROUPS):
            await layer.group_add(f"group.{n}", await layer.new_channel())

    return await observe(work)


if __name__ == "__main__":
    main()

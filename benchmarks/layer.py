"""How fast the channel layer is over a real Kafka: `python benchmarks/layer.py --bootstrap-servers host:9092`.

Sender and members are two processes; latency is measured from just before publish to the member's task, by one clock.
"""

import argparse
import asyncio
import multiprocessing
import statistics
import time
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from confluent_kafka.admin import AdminClient, NewTopic

from kafka_layer import Batch, KafkaChannelLayer

TEXT = "x" * 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--members", type=int, default=400)
    parser.add_argument("--rates", type=int, nargs="+", default=[100, 400, 2000], help="records a second")
    parser.add_argument("--seconds", type=float, default=10)
    arguments = parser.parse_args()
    config = create_topics(arguments.bootstrap_servers)
    print(
        f"{'members':>8} {'records/s':>10} {'deliveries/s':>13} {'p50 ms':>7} {'p99 ms':>7} {'CPU s/M deliveries':>19}"
    )
    for members, rate in [(1, 100), *((arguments.members, rate) for rate in arguments.rates)]:
        asyncio.run(measure(config, members=members, rate=rate, seconds=arguments.seconds))


def create_topics(servers: str) -> dict[str, Any]:
    routed, own = (f"benchmark-{uuid4().hex[:8]}.{kind}" for kind in ("routed", "own"))
    admin = AdminClient({"bootstrap.servers": servers})
    for future in admin.create_topics([NewTopic(topic, 3, 1) for topic in (routed, own)]).values():
        future.result(30)
    return {"bootstrap_servers": servers, "topic": own, "routes": [{"pattern": "room.*", "topic": routed}]}


async def measure(config: dict[str, Any], *, members: int, rate: int, seconds: float) -> None:
    """One line of the table. Every member must get every record, once and in order."""
    layer = KafkaChannelLayer(**config)
    count = int(rate * seconds)
    group = f"room.{uuid4().hex[:8]}"
    tasks = []
    for _ in range(members):
        subscription = layer.subscription()
        await subscription.join(group)
        tasks.append(asyncio.create_task(receive(subscription.next, count)))
    sender = multiprocessing.get_context("spawn").Process(target=send, args=(config, group, rate, count))
    sender.start()
    started, cpu = time.perf_counter(), time.process_time()
    delays = [delay for member in await asyncio.gather(*tasks) for delay in member]
    cpu = time.process_time() - cpu
    await asyncio.to_thread(sender.join)
    await layer.close()
    delays.sort()
    took = max(seconds, time.perf_counter() - started - 1)
    p50, p99 = statistics.median(delays), delays[int(len(delays) * 0.99)]
    deliveries = count * members
    print(
        f"{members:>8} {rate:>10} {deliveries / took:>13,.0f} {p50 * 1e3:>7.1f} {p99 * 1e3:>7.1f}"
        f" {cpu / deliveries * 1e6:>19.1f}",
        flush=True,
    )


async def receive(next_item: Any, count: int) -> Sequence[float]:
    """The delay of the oldest record of each batch; all records are checked."""
    expected, delays = 0, []
    while expected < count:
        batch = await next_item()
        first, number, sent_at = batch.render(summarise)
        if first != expected:
            raise SystemExit(f"expected record {expected}, got {first}")
        expected += number
        delays.append(time.time() - sent_at)
    return delays


def summarise(batch: Batch) -> tuple[int, int, float]:
    """Number of the first record, how many there are without a hole, and when the first was sent."""
    numbers = [record.message["n"] for record in batch.records]
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        raise SystemExit(f"out of order: {numbers}")
    return numbers[0], len(numbers), batch.records[0].message["sent_at"]


def send(config: dict[str, Any], group: str, rate: int, count: int) -> None:
    asyncio.run(publish_steadily(config, group, rate, count))


async def publish_steadily(config: dict[str, Any], group: str, rate: int, count: int) -> None:
    layer = KafkaChannelLayer(**config)
    await layer.publish("room.warm-up", {})
    started = time.perf_counter()
    async with asyncio.TaskGroup() as sends:
        for n in range(count):
            await asyncio.sleep(max(0.0, started + n / rate - time.perf_counter()))
            sends.create_task(layer.publish(group, {"n": n, "sent_at": time.time(), "text": TEXT}))
    await layer.close()


if __name__ == "__main__":
    main()

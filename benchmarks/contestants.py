"""The layers that are compared, and how a member of each reads. Every receipt is checked in the same way."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from channels.layers import BaseChannelLayer
from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer

from benchmarks.servers import Servers
from kafka_layer import Batch, Gap, KafkaChannelLayer

# channels_redis drops what exceeds its capacity, 100 by default; so much that no layer has to drop anything.
CAPACITY = 100_000
TEXT = "x" * 50


class Receipts:
    """What one member has received of the messages 0, 1, 2 …"""

    def __init__(self, delays: list[tuple[float, float]] | None) -> None:
        self.expected = 0
        self.missing: set[int] = set()
        self.late = 0  # came behind one with a higher number
        self.twice = 0
        self._delays = delays  # (sent at, seconds under way), when latency is measured

    def take(self, n: int, sent_at: float) -> None:
        if self._delays is not None:
            self._delays.append((sent_at, time.time() - sent_at))
        if n == self.expected:
            self.expected += 1
        elif n > self.expected:
            self.missing.update(range(self.expected, n))
            self.expected = n + 1
        elif n in self.missing:
            self.missing.remove(n)
            self.late += 1
        else:
            self.twice += 1

    def take_all(self, numbers: range, sent_at: list[float]) -> None:
        """The same for messages without a hole."""
        if self._delays is None and numbers.start == self.expected:
            self.expected = numbers.stop
        else:
            for n, sent in zip(numbers, sent_at, strict=True):
                self.take(n, sent)

    def lost(self, sent: int) -> int:
        return len(self.missing) + sent - self.expected


# Called with how many messages a member has just received.
Progress = Callable[[int], None]


class Contestant(NamedTuple):
    """`join(layer, group)` makes a member and returns what reads as it, a function of Receipts and Progress.
    `close` and `send` name methods of the layer.
    """

    name: str
    make: Callable[[Servers, list[str]], Any]
    join: Callable[[Any, str], Any]
    close: str
    send: str = "group_send"


async def join_channel(layer: BaseChannelLayer, group: str) -> Callable[[Receipts, Progress], Any]:
    channel = await layer.new_channel()
    await layer.group_add(group, channel)

    async def read(receipts: Receipts, progress: Progress) -> None:
        while True:
            message = await layer.receive(channel)
            receipts.take(message["n"], message["sent_at"])
            progress(1)

    return read


async def join_subscription(layer: KafkaChannelLayer, group: str) -> Callable[[Receipts, Progress], Any]:
    subscription = layer.subscription()
    await subscription.join(group)

    async def read(receipts: Receipts, progress: Progress) -> None:
        while True:
            item = await subscription.next()
            if isinstance(item, Gap):
                continue  # what it hides is counted as lost
            assert isinstance(item, Batch)  # noqa: S101 (nobody wakes these subscriptions)
            for numbers, sent_at in item.render(summarise):
                receipts.take_all(numbers, sent_at)
                progress(len(numbers))

    return read


def summarise(batch: Batch) -> list[tuple[range, list[float]]]:
    """The numbers in a batch as runs without a hole, with the times of sending; made once for all members."""
    runs: list[tuple[range, list[float]]] = []
    for record in batch.records:
        n, sent_at = record.message["n"], record.message["sent_at"]
        if runs and runs[-1][0].stop == n:
            runs[-1] = (range(runs[-1][0].start, n + 1), runs[-1][1])
            runs[-1][1].append(sent_at)
        else:
            runs.append((range(n, n + 1), [sent_at]))
    return runs


def make_core(servers: Servers, _: list[str]) -> RedisChannelLayer:
    # The client's own time-out of 5 s since redis-py 8 ends receive() when nothing comes (channels_redis issue 422).
    return RedisChannelLayer(hosts=[{"address": servers.redis, "socket_timeout": None}], capacity=CAPACITY)


def make_pubsub(servers: Servers, _: list[str]) -> RedisPubSubChannelLayer:
    return RedisPubSubChannelLayer(hosts=[{"address": servers.redis, "socket_timeout": None}])


def make_kafka(servers: Servers, topics: list[str]) -> KafkaChannelLayer:
    routed, own = topics
    routes = [{"pattern": "room.*", "topic": routed}]
    return KafkaChannelLayer(servers.kafka, topic=own, routes=routes, capacity=CAPACITY)


CORE = Contestant("channels_redis core", make_core, join_channel, "close_pools")
PUBSUB = Contestant("channels_redis pubsub", make_pubsub, join_channel, "flush")
PLAIN = Contestant("kafka_layer, `receive`", make_kafka, join_channel, "close")
SHARED = Contestant("kafka_layer, subscription", make_kafka, join_subscription, "close")
PUBLISHED = SHARED._replace(send="publish")
ALL = (CORE, PUBSUB, PLAIN, SHARED)


def message(n: int) -> dict[str, Any]:
    return {"type": "chat.message", "n": n, "sent_at": time.time(), "text": TEXT}

"""Topics and layers for the tests of the channel layer, and a second process to talk to."""

import asyncio
import gc
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from confluent_kafka.admin import AdminClient, NewTopic

from kafka_layer import Batch, BrokerUnavailable, KafkaChannelLayer, Position, PublishFailed, Subscription

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0  # seconds until a test gives up waiting


def bootstrap_servers() -> str:
    return os.environ["KAFKA_BOOTSTRAP_SERVERS"]


def create_config(servers: str | None = None) -> dict[str, Any]:
    """The arguments of a layer over three new topics."""
    servers = servers or bootstrap_servers()
    name = f"test-{uuid4().hex[:12]}"
    topics = [f"{name}.messages", f"{name}.notifications", f"{name}.own"]
    create_topics(servers, topics)
    routes = [{"pattern": "room.*", "topic": topics[0]}, {"pattern": "user.*", "topic": topics[1]}]
    return {"bootstrap_servers": servers, "topic": topics[2], "routes": routes}


def create_topics(servers: str, names: list[str]) -> None:
    """With as many replicas as there are brokers, up to three. A name that was deleted just now may take a moment."""
    admin = AdminClient({"bootstrap.servers": servers})
    replicas = min(3, len(admin.list_topics(timeout=PATIENCE).brokers))
    settings = {"message.timestamp.type": "LogAppendTime"}
    for future in admin.create_topics([NewTopic(name, 3, replicas, config=settings) for name in names]).values():
        future.result(PATIENCE)


@asynccontextmanager
async def running_layer(config: dict[str, Any], **more: Any) -> AsyncIterator[KafkaChannelLayer]:
    layer = KafkaChannelLayer(**{**config, **more})
    await layer.start()
    try:
        yield layer
    finally:
        await layer.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what no event tells."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 (there is no event)
            await asyncio.sleep(0.02)


async def start_until_answered(layer: KafkaChannelLayer) -> None:
    """Start again while Kafka was too slow for its deadline; raises any other reason why it does not start."""
    async with asyncio.timeout(PATIENCE):
        while not layer.ready:
            with suppress(BrokerUnavailable):
                await layer.start()


async def publish_until_acknowledged(layer: KafkaChannelLayer, group: str, n: int, *, id: str) -> None:
    """As a client does that does not know the outcome."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(PublishFailed, BrokerUnavailable):
                await layer.publish(group, {"n": n}, id=id)
                return


async def read(subscription: Subscription, count: int) -> list[Any]:
    """The `n` of the next records, at least `count` of them."""
    seen: list[Any] = []
    async with asyncio.timeout(PATIENCE):
        while len(seen) < count:
            item = await subscription.next()
            assert isinstance(item, Batch), item
            seen += [record.message["n"] for record in item.records]
    return seen


class Peer:
    """A layer in a process of its own, doing one thing after the other as it is told."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def pause(self) -> None:
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    async def do(self, action: str, *args: object) -> Any:
        return await asyncio.to_thread(self._exchange, action, args)

    def _exchange(self, action: str, args: tuple[object, ...]) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([action, *args]) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextmanager
def peer_process(config: dict[str, Any]) -> Iterator[Peer]:
    command = [sys.executable, "-m", "tests.integration.kafka_layer_support", json.dumps(config)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        yield Peer(process)
    finally:
        process.communicate(timeout=PATIENCE)  # the end of its input ends it
        assert process.returncode == 0


def seeded_random() -> random.Random:
    """Chance that can be had again: with TEST_SEED set to the seed that was printed."""
    seed = int(os.environ.get("TEST_SEED") or time.time_ns())
    print(f"TEST_SEED={seed}")
    return random.Random(seed)


def resident_kib() -> int:
    """The memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024


async def _serve(config: dict[str, Any]) -> None:
    channels: list[str] = []
    tasks: list[asyncio.Future[None]] = []
    async with running_layer(config) as layer:
        subscription = layer.subscription()

        async def publish(group: str, first: int, count: int) -> list[int]:
            sends = [layer.publish(group, {"n": n}) for n in range(first, first + count)]
            return [position.offset for position in await asyncio.gather(*sends)]

        async def join(group: str) -> str:
            channels.append(await layer.new_channel())
            await layer.group_add(group, channels[-1])
            return channels[-1]

        async def receive(channel: str) -> dict[str, Any]:
            async with asyncio.timeout(PATIENCE):
                return await layer.receive(channel)

        async def subscribe(group: str) -> None:
            await subscription.join(group)

        async def reach(*positions: list[Any]) -> None:
            for position in positions:
                await layer.reach(Position(*position))

        async def next_item() -> list[Any]:
            """Numbers, or the two offsets of a gap."""
            async with asyncio.timeout(PATIENCE):
                item = await subscription.next()
            if isinstance(item, Batch):
                return ["batch", *(record.message["n"] for record in item.records)]
            return ["gap", item.missed_from.offset, item.oldest.offset]

        drained: list[Any] = []

        async def drain(channel: str) -> None:
            async def keep_receiving() -> None:
                while True:
                    drained.append((await layer.receive(channel))["n"])

            tasks.append(asyncio.ensure_future(keep_receiving()))

        async def show_drained() -> list[Any]:
            return drained

        async def read_as_members(group: str, members: int, senders: list[str], count: int) -> None:
            """Begin to read with many members; `members_done`: how many saw each sender's messages once in order."""

            async def read_all(channel: str) -> bool:
                seen: dict[str, list[int]] = {sender: [] for sender in senders}
                async with asyncio.timeout(4 * PATIENCE):
                    for _ in range(count * len(senders)):
                        message = await layer.receive(channel)
                        seen[message["sender"]].append(message["n"])
                return all(numbers == list(range(count)) for numbers in seen.values())

            for _ in range(members):
                readers.append(asyncio.ensure_future(read_all(await join(group))))

        readers: list[asyncio.Future[bool]] = []

        async def members_done() -> int:
            return sum(await asyncio.gather(*readers))

        async def flood(group: str, sender: str, count: int) -> None:
            for n in range(count):
                await layer.group_send(group, {"sender": sender, "n": n})

        async def churn(rounds: int) -> int:
            """Connect and disconnect as often; the memory of this process behind it, in KiB."""
            for n in range(rounds):
                channel = await layer.new_channel()
                await layer.group_add("churn", channel)
                receiving = asyncio.ensure_future(layer.receive(channel))
                member = layer.subscription()
                await member.join(f"room.churn{n % 50}")
                await layer.group_send("churn", {"n": n})
                await asyncio.wait([receiving], timeout=n % 3 / 1000)
                receiving.cancel()
                await layer.group_discard("churn", channel)
                member.close()
            gc.collect()
            return resident_kib()

        actions = {
            "read_as_members": read_as_members,
            "members_done": members_done,
            "flood": flood,
            "churn": churn,
            "drain": drain,
            "drained": show_drained,
            "publish": publish,
            "subscribe": subscribe,
            "reach": reach,
            "next": next_item,
            "join": join,
            "receive": receive,
            "send": layer.send,
            "group_send": layer.group_send,
            "group_discard": layer.group_discard,
        }
        while line := await asyncio.to_thread(sys.stdin.readline):
            action, *args = json.loads(line)
            print(json.dumps(await actions[action](*args)), flush=True)
        for task in [*tasks, *readers]:
            task.cancel()


if __name__ == "__main__":
    asyncio.run(_serve(json.loads(sys.argv[1])))

"""Traffic through the channel layer while something is broken, and what must hold of it afterwards."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from uuid import uuid4

from kafka_layer import Batch, KafkaChannelLayer, NotProduced, Position, PublishFailed

DEADLINE = 60.0  # seconds from the end of a fault until everything is acknowledged and delivered
UNDER_WAY = 2000  # less than a ring keeps: what comes at once after an outage is no gap for a busy member
REPLAY = 600.0  # seconds: on a busy machine brokers may be away for longer than repeats are remembered by default
OUTAGE = 5.0  # seconds, as long as message.timeout.ms


class Traffic:
    """One sender and one member that stays. Messages are sent at a steady rate, and each is sent again under its id
    until it is acknowledged, as a client does that does not know the outcome. While UNDER_WAY of them are not both
    acknowledged and delivered, the sender waits too: the layer's producer may find a new leader before its reader does.
    """

    def __init__(self, layer: KafkaChannelLayer, group: str, *, rate: int) -> None:
        self.acknowledged: list[tuple[float, int]] = []  # (monotonic time, n)
        self.positions: dict[int, Position] = {}  # n -> where the acknowledgement said that it is
        self.delivered: list[tuple[float, int]] = []
        self.resent: set[int] = set()
        self._layer = layer
        self._group = group
        self._rate = rate
        self._name = uuid4().hex  # other traffic of the group has other ids
        self._stopping = asyncio.Event()
        self._places = asyncio.Semaphore(UNDER_WAY)
        self._half_done: set[int] = set()  # acknowledged, or delivered, and not yet the other
        self._recovery = 0.0  # seconds

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Leave it when Kafka is whole again; that waits until each message is acknowledged and delivered."""
        subscription = self._layer.subscription()
        await subscription.join(self._group)
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(self._send())
            reading = tasks.create_task(self._read(subscription.next))
            await self.progress()
            yield
            healed = time.monotonic()
            await self.progress()
            self._recovery = time.monotonic() - healed
            self._stopping.set()
            await asyncio.wait_for(sending, DEADLINE)
            with suppress(TimeoutError):  # then `check` says what is missing
                async with asyncio.timeout(DEADLINE):
                    while len(set(self.seen)) < len(self.acknowledged):
                        await asyncio.wait([reading], timeout=0.05)
            reading.cancel()
        subscription.close()

    async def progress(self) -> None:
        """Wait until a message that is sent now is acknowledged."""
        await asyncio.wait_for(self._publish_until_acknowledged(-1 - len(self.acknowledged)), DEADLINE)

    @property
    def seen(self) -> list[int]:
        return [n for _, n in self.delivered]

    def check(self) -> None:
        """Everything was seen once, and what was acknowledged at the first try in the order in which it was sent."""
        seen = self.seen
        counts = Counter(seen)
        twice = [(n, moment) for moment, n in self.delivered if counts[n] > 1]
        assert not twice, f"seen twice: {sorted(twice)[:6]}"
        missing = [self.positions[n] for n in sorted(self.positions.keys() - counts.keys())]
        assert not missing, f"{len(missing)} missing: {missing[:6]}; read through {self._layer.end(self._group)}"
        assert counts.keys() == self.positions.keys()
        at_once = [n for n in seen if n >= 0 and n not in self.resent]
        assert at_once == sorted(at_once)
        assert self._layer.counters.get("gaps", 0) == 0
        assert self._layer.ready

    def longest_silence(self) -> float:
        """Seconds without any acknowledgement: how long the fault was felt."""
        times = [moment for moment, _ in self.acknowledged]
        return max(later - earlier for earlier, later in pairwise(times))

    def report(self, fault: str, record: Callable[[str, object], None]) -> None:
        """Print, and keep for `make soak`, how long the fault was felt, and how much longer than it lasted."""
        silence, recovery = round(self.longest_silence(), 2), round(self._recovery, 2)
        print(f"{fault}: nothing acknowledged for {silence} s; acknowledged {recovery} s after Kafka was whole again;")
        print(f"{len(self.acknowledged)} messages, {len(self.resent)} of them sent again")
        record(f"{fault}: silence", silence)
        record(f"{fault}: recovery", recovery)

    async def _send(self) -> None:
        started, n = time.monotonic(), 0
        async with asyncio.TaskGroup() as sends:
            while not self._stopping.is_set():
                while n < (time.monotonic() - started) * self._rate and not self._places.locked():
                    await self._places.acquire()
                    sends.create_task(self._publish_until_acknowledged(n))
                    n += 1
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), 0.01)

    def _note_half(self, n: int) -> None:
        """Negative numbers have taken no place."""
        if n in self._half_done:
            self._half_done.remove(n)
            self._places.release()
        elif n >= 0:
            self._half_done.add(n)

    async def _publish_until_acknowledged(self, n: int) -> None:
        while True:
            try:
                position = await self._layer.publish(self._group, {"n": n}, id=f"{self._name}.{n}")
            except PublishFailed:
                self.resent.add(n)
            except NotProduced:
                self.resent.add(n)
                await asyncio.sleep(0.1)  # the queue is full, or no broker is there: do not knock in a hot loop
            else:
                self.acknowledged.append((time.monotonic(), n))
                self.positions[n] = position
                self._note_half(n)
                return

    async def _read(self, read_next: Callable[[], Awaitable[object]]) -> None:
        while True:
            batch = await read_next()
            assert isinstance(batch, Batch), batch
            moment = time.monotonic()
            numbers = [record.message["n"] for record in batch.records]
            self.delivered += [(moment, n) for n in numbers]
            for n in numbers:
                self._note_half(n)

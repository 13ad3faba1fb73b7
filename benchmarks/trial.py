"""One trial: a process of members, a process that sends to them, and this one, which only watches both from outside."""

import asyncio
import ctypes
import multiprocessing
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from benchmarks.contestants import Contestant, Receipts, message
from benchmarks.servers import Servers

SPAWN = multiprocessing.get_context("spawn")
WARM_UP = 2.0  # seconds of traffic before the measured ones
WINDOW = 200  # so many messages may be under way when as many as possible are sent
BURST = 20_000  # messages that are sent as fast as possible
SENDERS = 50  # tasks that share them
PATIENCE = 60.0  # seconds
QUIET = 10.0  # seconds without a receipt, after which what is missing is lost
RATE, SATURATED, IDLE = "rate", "saturated", "idle"


class Shared(NamedTuple):
    """Written by one process each, without a lock."""

    deliveries: Any  # of all members so far
    stop: Any  # not 0: send no more


class Receipt(NamedTuple):
    lost: int
    twice: int
    late: int
    delays: list[tuple[float, float]]  # (sent at, seconds under way)


@dataclass(frozen=True)
class Result:
    contestant: Contestant
    members: int
    rate: float  # messages a second that were asked for; 0: as many as possible
    sends: float  # messages a second that reached all members
    deliveries: float  # in a second
    receiver_cpu: float  # CPU seconds a second, as all the following
    sender_cpu: float
    server_cpu: float | None  # None: the server is not ours to look at
    memory: int  # resident bytes of the members' process
    receipt: Receipt

    @property
    def per_core(self) -> float:
        """Deliveries for each CPU second of the members' process."""
        return self.deliveries / self.receiver_cpu

    @property
    def per_core_of_all(self) -> float | None:
        """The same for each CPU second of members, sender and server together."""
        if self.server_cpu is None:
            return None
        return self.deliveries / (self.receiver_cpu + self.sender_cpu + self.server_cpu)

    def percentile(self, share: float) -> float:
        """Milliseconds under way."""
        delays = sorted(delay for _, delay in self.receipt.delays)
        return delays[min(len(delays) - 1, int(len(delays) * share))] * 1000

    @property
    def median(self) -> float:
        return statistics.median(delay for _, delay in self.receipt.delays) * 1000

    @property
    def faults(self) -> str:
        """Of all members together: missing, received twice, received behind a later one."""
        return f"{self.receipt.lost:,} · {self.receipt.twice:,} · {self.receipt.late:,}"


class Burst(NamedTuple):
    contestant: Contestant
    sends: float  # in a second
    cpu: float  # seconds of the sender for each message
    lost: int
    twice: int


def run(
    contestant: Contestant,
    servers: Servers,
    topics: list[str],
    *,
    members: int,
    mode: str,
    seconds: float,
    rate: float = 0,
) -> Result:
    """`rate`: messages a second in mode RATE."""
    shared = Shared(SPAWN.RawValue(ctypes.c_longlong, 0), SPAWN.RawValue(ctypes.c_int, 0))
    group = f"room.{uuid4().hex[:12]}"
    common = (contestant, servers, topics, group, members, shared)
    with process(receive, *common, mode == RATE) as (receiver, from_receiver):
        from_receiver.recv()
        with process(send, *common, mode, rate) as (sender, from_sender):
            from_sender.recv()
            time.sleep(WARM_UP)
            server_pid = servers.redis_pid if "redis" in contestant.name else servers.kafka_pid
            pids = [receiver.pid, sender.pid, server_pid]
            began, before = time.time(), [cpu_seconds(pid) for pid in pids]
            delivered = shared.deliveries.value
            time.sleep(seconds)
            took = time.time() - began
            delivered = shared.deliveries.value - delivered
            cpu = [(cpu_seconds(pid) - earlier) / took for pid, earlier in zip(pids, before, strict=True)]
            memory = resident_bytes(receiver.pid)
            shared.stop.value = 1
            sent = from_sender.recv()
        wait_until_received(shared, sent * members)
        from_receiver.send(sent)
        lost, twice, late, delays = from_receiver.recv()
    measured = [delay for delay in delays if began <= delay[0] < began + took]
    per_second = delivered / took
    receipt = Receipt(lost, twice, late, measured)
    server_cpu = None if server_pid is None else cpu[2]
    return Result(
        contestant, members, rate, per_second / members, per_second, cpu[0], cpu[1], server_cpu, memory, receipt
    )


def run_burst(contestant: Contestant, servers: Servers, topics: list[str]) -> Burst:
    """Send as fast as one process can, as a web server does: many senders, each waiting for its own message."""
    shared = Shared(SPAWN.RawValue(ctypes.c_longlong, 0), SPAWN.RawValue(ctypes.c_int, 0))
    common = (contestant, servers, topics, f"room.{uuid4().hex[:12]}", 1, shared)
    with process(receive, *common, False) as (_, from_receiver):
        from_receiver.recv()
        with process(burst, *common) as (_, from_sender):
            seconds, cpu = from_sender.recv()
        wait_until_received(shared, BURST)
        from_receiver.send(BURST)
        lost, twice, _, _ = from_receiver.recv()
    return Burst(contestant, BURST / seconds, cpu / BURST, lost, twice)


@contextmanager
def process(target: Any, *arguments: Any) -> Iterator[tuple[Any, Connection]]:
    here, there = SPAWN.Pipe()
    child = SPAWN.Process(target=target, args=(*arguments, there), daemon=True)
    child.start()
    there.close()
    try:
        yield child, here
        child.join(PATIENCE)
    finally:
        child.kill()


def wait_until_received(shared: Shared, expected: int) -> None:
    seen, quiet_since = -1, time.monotonic()
    while shared.deliveries.value < expected and time.monotonic() - quiet_since < QUIET:
        if shared.deliveries.value != seen:
            seen, quiet_since = shared.deliveries.value, time.monotonic()
        time.sleep(0.05)


def cpu_seconds(pid: int | None) -> float:
    """Of all threads of a process, in the kernel and outside: the clock that clock_getcpuclockid(3) names."""
    return 0.0 if pid is None else time.clock_gettime((~pid << 3) | 2)


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


# In the process of the members


def receive(*arguments: Any) -> None:
    asyncio.run(receive_as_members(*arguments))


async def receive_as_members(
    contestant: Contestant,
    servers: Servers,
    topics: list[str],
    group: str,
    members: int,
    shared: Shared,
    measure_delays: bool,
    parent: Connection,
) -> None:
    layer = contestant.make(servers, topics)
    delays: list[tuple[float, float]] | None = [] if measure_delays else None
    total = 0

    def progress(number: int) -> None:
        nonlocal total
        total += number
        if total % members < number:
            shared.deliveries.value = total

    receipts = [Receipts(delays) for _ in range(members)]
    reads = [await contestant.join(layer, group) for _ in range(members)]
    tasks = [asyncio.create_task(read(receipt, progress)) for read, receipt in zip(reads, receipts, strict=True)]
    parent.send("joined")
    sent = await asyncio.to_thread(parent.recv)
    for task in tasks:
        if task.done():
            task.result()  # a reader that failed fails the trial
        task.cancel()
    await asyncio.wait(tasks)
    parent.send(
        (
            sum(r.lost(sent) for r in receipts),
            sum(r.twice for r in receipts),
            sum(r.late for r in receipts),
            delays or [],
        )
    )
    await getattr(layer, contestant.close)()


# In the process that sends


def send(*arguments: Any) -> None:
    asyncio.run(send_to_group(*arguments))


async def send_to_group(
    contestant: Contestant,
    servers: Servers,
    topics: list[str],
    group: str,
    members: int,
    shared: Shared,
    mode: str,
    rate: float,
    parent: Connection,
) -> None:
    layer = contestant.make(servers, topics)
    await layer.group_send("room.warm-up", {})
    parent.send("ready")
    sent = 0
    if mode == RATE:
        sent = await send_at_rate(contestant, layer, group, shared, rate)
    elif mode == SATURATED:
        sent = await send_in_window(layer, group, members, shared)
    while not shared.stop.value:  # noqa: ASYNC110 (another process sets it)
        await asyncio.sleep(0.05)
    await getattr(layer, contestant.close)()
    parent.send(sent)


async def send_at_rate(contestant: Contestant, layer: Any, group: str, shared: Shared, rate: float) -> int:
    started, n = time.perf_counter(), 0
    async with asyncio.TaskGroup() as publishing:
        while not shared.stop.value:
            await asyncio.sleep(max(0.0, started + n / rate - time.perf_counter()))
            if contestant.send == "publish":
                publishing.create_task(layer.publish(group, message(n)))  # its answer comes when Kafka has the record
            else:
                await layer.group_send(group, message(n))
            n += 1
    return n


async def send_in_window(layer: Any, group: str, members: int, shared: Shared) -> int:
    n = 0
    while not shared.stop.value:
        if n - shared.deliveries.value // members < WINDOW:
            await layer.group_send(group, message(n))
            n += 1
        else:
            await asyncio.sleep(0.001)
    return n


def burst(*arguments: Any) -> None:
    asyncio.run(send_burst(*arguments))


async def send_burst(
    contestant: Contestant,
    servers: Servers,
    topics: list[str],
    group: str,
    members: int,
    shared: Shared,
    parent: Connection,
) -> None:
    """The time includes closing: until then a layer may have messages in its own memory only."""
    layer = contestant.make(servers, topics)
    send_one = getattr(layer, contestant.send)
    for _ in range(200):
        await send_one("room.warm-up", {})
    started, cpu = time.perf_counter(), time.process_time()
    numbers = iter(range(BURST))

    async def send_some() -> None:
        for n in numbers:
            await send_one(group, message(n))

    async with asyncio.TaskGroup() as senders:
        for _ in range(SENDERS):
            senders.create_task(send_some())
    await getattr(layer, contestant.close)()
    parent.send((time.perf_counter() - started, time.process_time() - cpu))

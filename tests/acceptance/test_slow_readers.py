"""A client that does not read, in a room where others talk."""

import asyncio
import gc
import json
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles

import pytest
from websockets.asyncio.client import connect

from tests.acceptance.chat import Chat, call, create_room
from tests.acceptance.client import ChatClient
from tests.acceptance.processes import Web, free_port, wait_for

TEXT = "x" * 3_800
TRAFFIC = 5_300  # messages, 20 MB
RATE = 500  # messages a second
AT_ONCE = 30  # more under way would be too many for a socket, on a machine that is busy


@pytest.mark.timeout(300)
@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
async def test_a_client_that_never_reads_costs_little_and_is_closed_and_comes_back(chat: Chat, server: str):
    metrics = free_port()
    web = chat.web(server=server, environment={"METRICS_PORT": str(metrics)})
    chat.event_consumer()
    alice, bob = chat.tokens(2).values()
    room = create_room(web.url, alice)
    async with ChatClient(web.url, alice) as talker:
        await talker.subscribe(room)
        control = await delays(talker, room, TRAFFIC // 2)
        before = resident_bytes(web)
        async with connect(
            web.url.replace("http", "ws", 1) + "/ws", additional_headers={"Authorization": f"Bearer {bob}"},
            compression=None, max_queue=1, ping_interval=None,
        ) as deaf:  # fmt: skip
            await deaf.send(json.dumps({"type": "subscribe", "id": "1", "room": room}))
            while (frame := json.loads(await deaf.recv()))["type"] != "subscribed":
                pass
            deaf.transport.pause_reading()
            beside = await delays(talker, room, TRAFFIC)
            growth = resident_bytes(web) - before
            await asyncio.to_thread(wait_for, lambda: closed_too_slow(metrics) == 1, "the server closes it 4008")
            deaf.transport.abort()
        control += await delays(talker, room, TRAFFIC // 2)
        await talker.say(room, "the end")
        await asyncio.to_thread(wait_for, lambda: is_stored(chat, room, "the end"), "all is stored")
        async with ChatClient(web.url, bob) as back:
            # More than is pushed at a socket: the client is told, and goes on from the newest page.
            assert (await back.subscribe(room, after=frame["cursor"]))["recovered"] is False
            page = await asyncio.to_thread(call, web.url, bob, "GET", f"/rooms/{room}/messages")
            assert (await back.subscribe(room, after=page["stored"]))["recovered"] is True
    print(f"\n{server}: {growth / 2**20:.1f} MiB more; p99 of the others {p99(control):.1f} ms without it,"
          f" {p99(beside):.1f} ms beside it")  # fmt: skip
    assert growth < 10e6


async def delays(client: ChatClient, room: int, count: int) -> list[float]:
    """Say `count` messages at RATE; how long after its time each was acknowledged, in seconds."""
    free, started = asyncio.Semaphore(AT_ONCE), time.perf_counter()

    async def say(number: int) -> float:
        due = started + number / RATE
        await asyncio.sleep(due - time.perf_counter())
        async with free:
            await client.say(room, f"{number} {TEXT}")
        return time.perf_counter() - due

    with no_collector():
        return list(await asyncio.gather(*(say(number) for number in range(count))))


def is_stored(chat: Chat, room: int, text: str) -> bool:
    """Without fetching all the others."""
    return bool(chat.query("SELECT 1 FROM messaging_message WHERE room_id = %s AND text = %s", room, text))


def p99(seconds: list[float]) -> float:
    """Milliseconds: the median of the p99 of each second, since one pause of the machine would be all of it."""
    return median(quantiles(seconds[n : n + RATE], n=100)[98] for n in range(0, len(seconds) - RATE + 1, RATE)) * 1000


@contextmanager
def no_collector() -> Iterator[None]:
    """The pauses of this process's own garbage collector, with all these frames, would be measured as the server's."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def resident_bytes(web: Web) -> int:
    status = Path(f"/proc/{web.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def closed_too_slow(metrics: int) -> int:
    """How many sockets the server says that it closed 4008."""
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=5) as response:
        text = response.read().decode()
    counts = [
        line.split()[1] for line in text.splitlines() if line.startswith('chat_sockets_closed_total{code="4008"}')
    ]
    return int(float(counts[0])) if counts else 0

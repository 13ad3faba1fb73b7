"""The outbox on a running chat: `python -m benchmarks.outbox`.

Rooms: from asking one web process for a new room, and from its answer, to the frame at a socket of another one.
Backlog: how fast a poller sends rows that wait for it. All processes and services share the machine with this script.
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from itertools import count
from pathlib import Path
from statistics import quantiles

from devstack import DevStack
from tests.acceptance.chat import Chat, create_room
from tests.acceptance.client import ChatClient
from tests.acceptance.processes import wait_for

FOLDER = Path(__file__).resolve().parents[1] / ".data" / "benchmark-chat"
BATCH = 500  # the poller's
PENDING = "SELECT count(*) FROM outbox_outboxevent WHERE sent_at IS NULL AND discarded_at IS NULL"
DRAINED = """
    SELECT count(*), extract(epoch FROM max(sent_at) - min(sent_at))::float8 FROM outbox_outboxevent
    WHERE type = 'chat.user.created.v1' AND key LIKE %s
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rooms", type=int, default=500)
    parser.add_argument("--rate", type=float, default=20, help="rooms a second")
    parser.add_argument("--rows", type=int, default=10_000, help="rows of the backlog, each of another aggregate")
    arguments = parser.parse_args()
    print(f"load average before: {os.getloadavg()[0]:.1f}", flush=True)
    with DevStack(FOLDER) as stack, tempfile.TemporaryDirectory() as logs:
        environment = {**stack.addresses(), "SECRET_KEY": stack.state.secret_key, "CHAT_EMBEDDED": "1"}
        environment["LIMIT_ROOMS"] = "1000000/1"
        chat = Chat(environment, Path(logs))
        chat.manage("migrate", "--verbosity", "0")
        chat.manage("create_topics")
        try:
            measure_backlog(chat, arguments.rows)
            asyncio.run(measure_rooms(chat, arguments.rooms, arguments.rate))
        finally:
            chat.close()


def measure_backlog(chat: Chat, rows: int) -> None:
    prefix = f"b{time.time_ns() % 10**7}-"
    chat.manage("create_users", "--prefix", prefix, "--count", str(rows), "--tokens-file", str(chat.folder / "tokens"))
    poller = chat.poller()
    wait_for(lambda: chat.query(PENDING)[0][0] == 0, "the backlog is sent", deadline=300)
    sent, seconds = chat.query(DRAINED, f"{prefix}%")[0]
    # Time is counted from the end of the first batch.
    print(f"{sent:,} rows sent and marked: {(sent - BATCH) / seconds:,.0f}/s", flush=True)
    poller.stop()


async def measure_rooms(chat: Chat, rooms: int, rate: float) -> None:
    chat.poller()
    chat.event_consumer()
    here, there = chat.web("here"), chat.web("there")
    (alice, bob) = chat.tokens(2).values()
    asked, answered, seen = dict[int, float](), dict[int, float](), dict[int, float]()
    async with ChatClient(there.url, bob) as client:
        await client.ask({"type": "subscribe", "rooms": True})
        watcher = asyncio.create_task(watch(client, seen))
        # The first one waits for the event consumer to get its partitions.
        first = await asyncio.to_thread(create_room, here.url, alice)
        await client.until(lambda _: first in seen)
        started = time.perf_counter()
        for number in range(rooms):
            await asyncio.sleep(started + number / rate - time.perf_counter())
            planned = started + number / rate
            room = await asyncio.to_thread(create_room, here.url, alice)
            asked[room], answered[room] = planned, time.perf_counter()
        await client.until(lambda _: all(room in seen for room in asked))
        watcher.cancel()
    print(f"{rooms} rooms, {rate:g} a second; to the frame at a socket of another web process:", flush=True)
    for what, since in (("request", asked), ("answer", answered)):
        print(f"  from the {what}: {percentiles([(seen[room] - since[room]) * 1e3 for room in asked])}", flush=True)


async def watch(client: ChatClient, seen: dict[int, float]) -> None:
    """Note when each room's frame is there."""
    for known in count():
        await client.until(partial(has_more, known), deadline=3600)
        frame = client.frames[known]
        if frame["type"] == "room_created":
            seen[frame["room"]["id"]] = time.perf_counter()


def has_more(known: int, client: ChatClient) -> bool:
    return len(client.frames) > known


def percentiles(values: Sequence[float]) -> str:
    marks = quantiles(values, n=100)
    return f"p50 {marks[49]:.1f} ms, p99 {marks[98]:.1f} ms, max {max(values):.1f} ms"


if __name__ == "__main__":
    main()

"""What presence costs when many people enter one room within seconds: `python -m benchmarks.presence`.

One process as a web process is, with real Redis and Kafka: each person has a `Socket` whose frames go nowhere. Counted
is the CPU time of the event loop's thread and of the whole process (Kafka's reader and producer included), less that of
the same sockets when nobody tells who comes. What the server library takes to write a frame comes on top; see the
number of frames.
"""

import argparse
import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from channels.layers import get_channel_layer
from django.conf import settings

from benchmarks.database import STACK
from devstack import DevStack
from messaging.attendance import Attendance, live_group
from messaging.log import RoomLog
from messaging.protocol import Text
from messaging.render import Renderer
from messaging.socket import Socket
from rooms.presence import Presence

SETTLE = 2.0  # seconds until the last number was told


class Cost(NamedTuple):
    """CPU seconds of the loop's thread and of the process; frames that sockets were sent; numbers they were told."""

    loop: float
    process: float
    frames: int
    last: str


class Person:
    """A socket in the room, and the frames that it was sent."""

    def __init__(self, layer: Any, renderer: Renderer) -> None:
        self.subscription = layer.subscription()
        self.frames: list[str] = []
        self._gone = asyncio.Event()
        self.socket = Socket(self._receive, self._send, self.subscription, handle=self._handle, show=renderer.ephemeral)

    async def _receive(self) -> dict[str, Any]:
        await self._gone.wait()
        return {"type": "websocket.disconnect", "code": 1000}

    async def _send(self, event: dict[str, Any]) -> None:
        self.frames.append(event.get("text", ""))

    async def _handle(self, frame: dict[str, Any]) -> None:
        raise AssertionError("Nobody says anything.")

    def show(self, text: Text) -> None:
        self.socket.post_texts([text])

    def leave(self) -> None:
        self._gone.set()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    print(f"load average before: {os.getloadavg()[0]:.1f}", flush=True)
    with running_services():
        asyncio.run(compare(arguments.people, arguments.seconds))


@contextmanager
def running_services() -> Iterator[None]:
    with DevStack(STACK.folder, services=("redis", "kafka")):
        from events.provisioning import create_topics

        create_topics(settings.KAFKA_BOOTSTRAP_SERVERS, replication=1)
        yield


async def compare(people: int, seconds: float) -> None:
    layer = get_channel_layer()
    await layer.start()
    renderer = Renderer(RoomLog(layer))
    measure = partial(enter_all, layer, renderer, people=people, seconds=seconds)
    await measure(told=True)  # the first traffic is slow
    without, with_presence = await measure(told=False), await measure(told=True)
    loop = (with_presence.loop - without.loop) / seconds
    process = (with_presence.process - without.process) / seconds
    print(
        f"{people:,} people enter one room within {seconds:g} s: presence takes {loop:.1%} of the loop's time, "
        f"{process:.1%} of a processor with all threads; {with_presence.frames:,} frames were written. "
        f"The last one: {with_presence.last}\n"
        f"(CPU seconds of the loop: {with_presence.loop:.2f}, without presence {without.loop:.2f})",
        flush=True,
    )
    await layer.close()


async def enter_all(layer: Any, renderer: Renderer, *, people: int, seconds: float, told: bool) -> Cost:
    room = 10**9 + time.time_ns() % 10**9
    loop = asyncio.get_running_loop()
    async with Presence(settings.REDIS_URL, **settings.REDIS_OPTIONS) as presence:
        attendance = Attendance(layer, presence)
        keeping = asyncio.create_task(attendance.keep())
        crowd = [Person(layer, renderer) for _ in range(people)]
        serving = [asyncio.create_task(person.socket.serve()) for person in crowd]
        start, cpu_loop, cpu_process = loop.time(), time.thread_time(), time.process_time()
        for number, person in enumerate(crowd):
            await asyncio.sleep(start + number * seconds / people - loop.time())
            await person.subscription.join(live_group(room))
            if told:
                attendance.enter(room, f"person-{number}", str(number), announce=True, show=person.show)
        await asyncio.sleep(SETTLE)
        cost = Cost(
            time.thread_time() - cpu_loop,
            time.process_time() - cpu_process,
            sum(len(person.frames) for person in crowd),
            crowd[0].frames[-1] if told else "",
        )
        for number, person in enumerate(crowd):
            attendance.leave(room, f"person-{number}", str(number))
            person.leave()
        await asyncio.gather(*serving)
        await attendance.flush()
        keeping.cancel()
        await asyncio.wait([keeping])
    return cost


if __name__ == "__main__":
    main()

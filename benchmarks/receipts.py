"""What a checked receipt costs the load generator: `python -m benchmarks.receipts`.

One room of 1,000 users whose messages come in batches that all sockets share, as a busy server sends them, through the
generator's own WebSocket parser, frame memo, checks and latency counts: once handed over as bytes, and once through
real sockets from another process, with what the system takes for them. CPU time of the generator alone. Prints a line
for each size of a batch; takes about ten seconds.
"""

import asyncio
from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from time import monotonic, process_time

import orjson
import uvloop

from loadtest.cursor import place_of
from loadtest.deliveries import Deliveries
from loadtest.frames import FrameReader
from loadtest.latencies import TICK
from loadtest.outcome import Outcome
from loadtest.plan import Key, Plan
from loadtest.receiver import Receiver
from loadtest.roomlog import Batch, RoomLog
from loadtest.wire import SHORT, WebSocket
from loadtest.worker import raise_open_files

USERS = 1000
ROOM = 7
PLAN = Plan(users=USERS, rooms=1, seconds=20, ramp=0, rate=1, length=50, run="bench")
HEAD = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: yes\r\n\r\n"


def main() -> None:
    raise_open_files()
    for size in (1, 10, 50):
        batches = max(20, 200 // size)
        receipts = USERS * size * batches
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            handed = receipts / runner.run(measure_bytes(size, batches)) / 1e6
            through = receipts / runner.run(measure_sockets(size, batches)) / 1e6
        print(f"{size:>3} messages a frame: {handed:.2f} M checked receipts/s and core, {through:.2f} M from sockets")


async def measure_bytes(size: int, batches: int) -> float:
    """CPU seconds for frames that are handed over."""
    room = Room()
    sockets = [room.socket() for _ in range(USERS)]
    for socket in sockets:
        socket.data_received(HEAD)
        room.enter(socket)
    frames = list(_frames(size, batches))
    begun = process_time()
    for frame in frames:
        for socket in sockets:
            # As from the system: bytes of their own, although they are the same.
            socket.data_received(bytes(bytearray(frame)))
    seconds = process_time() - begun
    room.check(size * batches)
    return seconds


async def measure_sockets(size: int, batches: int) -> float:
    """CPU seconds for frames from another process."""
    room, context = Room(), get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=_serve, args=(theirs, size, batches), daemon=True)
    server.start()
    loop = asyncio.get_running_loop()
    port = await asyncio.to_thread(ours.recv)
    for _ in range(USERS):
        _, socket = await loop.create_connection(room.socket, "127.0.0.1", port)
        await socket.opened()
        room.enter(socket)
    begun = process_time()
    ours.send(None)
    async with asyncio.timeout(60):
        while room.received() < USERS * size * batches:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    seconds = process_time() - begun
    server.terminate()
    server.join()
    room.check(size * batches)
    return seconds


class Room:
    """The generator's side."""

    def __init__(self) -> None:
        self._log = RoomLog(PLAN, 0, {user: f"load{user}" for user in range(USERS)})
        self._reader, self._deliveries, self._outcome = FrameReader({ROOM: self._log}), Deliveries(), Outcome()
        self._receivers: list[Receiver] = []

    def socket(self) -> WebSocket:
        return WebSocket(b"GET / HTTP/1.1\r\n\r\n", b"yes")

    def enter(self, socket: WebSocket) -> None:
        receiver = Receiver(self._log, self._outcome)
        receiver.start(place_of("1-0-0"), "1-0-0", 0)
        self._receivers.append(receiver)

        def take(payload: bytes) -> None:
            tick = int(monotonic() / TICK)
            for item in self._reader.read(payload):
                if isinstance(item, Batch) and receiver.take(item):
                    self._deliveries.note(item, tick)

        socket.listen(take, lambda code: None)

    def received(self) -> int:
        return sum(receiver.received for receiver in self._receivers)

    def check(self, messages: int) -> None:
        """That all was checked, and nothing found."""
        self._deliveries.take()
        self._reader.close()
        wrong = self._outcome.foreign or self._outcome.twice or self._outcome.out_of_order
        if wrong or sum(self._log.record.links.values()) != USERS * messages:
            raise RuntimeError("The checks are wrong about what this benchmark makes.")


def _serve(link: Connection, size: int, batches: int) -> None:
    """The other process: a server that shows the same frames to all sockets once they are there."""
    raise_open_files()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_show(link, list(_frames(size, batches))))


async def _show(link: Connection, frames: list[bytes]) -> None:
    writers: list[asyncio.StreamWriter] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD)
        writers.append(writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, backlog=USERS)
    link.send(server.sockets[0].getsockname()[1])
    await asyncio.to_thread(link.recv)
    for frame in frames:
        for writer in writers:
            writer.write(frame)
        await asyncio.gather(*(writer.drain() for writer in writers))
    await asyncio.Event().wait()


def _frames(size: int, batches: int) -> Iterator[bytes]:
    """Server frames as they stand on the wire."""
    keys = sorted((Key(sender, n) for sender in range(USERS) for n in range(20)), key=PLAN.sent_at)
    for number in range(batches):
        batch = [_message(key, number * size + at) for at, key in enumerate(keys[number * size :][:size], 1)]
        text = orjson.dumps(batch if size > 1 else batch[0])
        yield bytes((0x81, 126)) + SHORT.pack(len(text)) + text


def _message(key: Key, offset: int) -> dict[str, object]:
    return {"type": "message", "room": ROOM, "cursor": f"1-0-{offset}", "id": "0b6f2c1e-3f4e-4c8a-9d3a-1c2b3a4d5e6f",
            "sender": f"load{key.sender}", "text": PLAN.text(key), "time": "2026-11-23T10:00:00.000Z"}  # fmt: skip


if __name__ == "__main__":
    main()

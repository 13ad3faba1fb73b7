"""What a checked receipt costs the load generator: `python -m benchmarks.receipts`.

One room of 1,000 users whose messages come in batches that all sockets share, as a busy server sends them: the bytes of
each socket go through the generator's own WebSocket parser, frame memo, checks and latency counts. The system's own
work on a socket is not in it. Prints one line; takes a few seconds.
"""

import asyncio
from collections.abc import Iterator
from time import monotonic, process_time

import orjson

from loadtest.cursor import place_of
from loadtest.deliveries import Deliveries
from loadtest.frames import FrameReader
from loadtest.latencies import TICK
from loadtest.outcome import Outcome
from loadtest.plan import Key, Plan
from loadtest.receiver import Receiver
from loadtest.roomlog import Batch, RoomLog
from loadtest.wire import SHORT, WebSocket

USERS = 1000
ROOM = 7


def main() -> None:
    for size in (1, 10, 50):
        seconds, receipts = asyncio.run(measure(size, batches=max(20, 200 // size)))
        print(f"{size:>3} messages a frame: {receipts / seconds / 1e6:.2f} M checked receipts a second and core")


async def measure(size: int, *, batches: int) -> tuple[float, int]:
    """CPU seconds for so many receipts."""
    plan = Plan(users=USERS, rooms=1, seconds=20, ramp=0, rate=1, length=50, run="bench")
    log = RoomLog(plan, 0, {user: f"load{user}" for user in range(USERS)})
    reader, deliveries, outcome = FrameReader({ROOM: log}), Deliveries(), Outcome()
    sockets = [_socket(Receiver(log, outcome), reader, deliveries) for _ in range(USERS)]
    receipts = USERS * size * batches
    begun = process_time()
    for frame in list(_frames(plan, size, batches)):
        for socket in sockets:
            # As from the system: bytes of their own, although they are the same.
            socket.data_received(bytes(bytearray(frame)))
    deliveries.take()
    seconds = process_time() - begun
    reader.close()
    if outcome.foreign or outcome.twice or outcome.out_of_order or sum(log.record.links.values()) != receipts:
        raise RuntimeError("The checks are wrong about what this benchmark makes.")
    return seconds, receipts


def _socket(receiver: Receiver, reader: FrameReader, deliveries: Deliveries) -> WebSocket:
    def take(payload: bytes) -> None:
        tick = int(monotonic() / TICK)
        for item in reader.read(payload):
            if isinstance(item, Batch) and receiver.take(item):
                deliveries.note(item, tick)

    socket = WebSocket(b"", b"")
    socket._opened.set_result(None)
    socket.listen(take, lambda code: None)
    receiver.start(place_of("1-0-0"), "1-0-0", 0)
    return socket


def _frames(plan: Plan, size: int, batches: int) -> Iterator[bytes]:
    """Server frames as they stand on the wire."""
    keys = sorted((Key(sender, n) for sender in range(USERS) for n in range(20)), key=plan.sent_at)
    for number in range(batches):
        batch = [_message(plan, key, number * size + at) for at, key in enumerate(keys[number * size :][:size], 1)]
        text = orjson.dumps(batch if size > 1 else batch[0])
        yield bytes((0x81, 126)) + SHORT.pack(len(text)) + text


def _message(plan: Plan, key: Key, offset: int) -> dict[str, object]:
    return {"type": "message", "room": ROOM, "cursor": f"1-0-{offset}", "id": "0b6f2c1e-3f4e-4c8a-9d3a-1c2b3a4d5e6f",
            "sender": f"load{key.sender}", "text": plan.text(key), "time": "2026-11-23T10:00:00.000Z"}  # fmt: skip


if __name__ == "__main__":
    main()

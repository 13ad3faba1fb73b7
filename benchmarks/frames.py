"""What a web process does for each frame: `python -m benchmarks.frames`. CPU time of the event loop alone.

Messages of 50 characters in, and out to 1,000 sockets of one room whose server writes nothing: that comes on top. No
network and no services. Writes its table into docs/load.md; takes about ten seconds.
"""

import asyncio
import os
from collections.abc import Callable
from time import process_time
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import orjson

from benchmarks.database import STACK
from benchmarks.report import conditions, write_between_markers
from kafka_layer import Batch, Position
from kafka_layer.codec import CODECS
from kafka_layer.records import Record
from loadtest.report.markdown import table
from messaging import protocol
from messaging.cursor import Cursor
from messaging.frames import message_envelope
from messaging.protocol import SendFrame
from messaging.render import Renderer
from messaging.socket import Socket

DOCUMENT = STACK.folder.parents[1] / "docs" / "load.md"
ROOM = 7
TEXT = "x" * 50
RECORDS = 20_000
SOCKETS = 1_000
FRAMES = 100  # to each socket

codec = CODECS["json"]
log = SimpleNamespace(cursor=lambda position: Cursor(1, position.partition, position.offset), layer=None)


class Reader:
    """A socket and the subscription it reads from, which has the same batches for all."""

    def __init__(self, batches: list[Batch], show: Callable[[Any], Any]) -> None:
        self._batches = iter(batches)
        self._acknowledged: asyncio.Queue[str] = asyncio.Queue()
        self.done = asyncio.Event()
        self.socket = Socket(self._receive, self._send, self, handle=self._handle, show=show)

    async def next(self) -> Batch:
        if (batch := next(self._batches, None)) is not None:
            return batch
        self.done.set()
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    def wake(self) -> None:
        pass

    async def _receive(self) -> dict[str, Any]:
        return {"type": "websocket.receive", "text": await self._acknowledged.get()}

    async def _send(self, event: dict[str, Any]) -> None:
        if event["text"].startswith('{"type":"ping"'):
            id = orjson.loads(event["text"])["id"]
            self._acknowledged.put_nowait(f'{{"type":"pong","id":"{id}"}}')

    async def _handle(self, frame: dict[str, Any]) -> None:
        raise AssertionError("Nobody says anything.")


def main() -> None:
    load_before = os.getloadavg()[0]
    rows = [["a frame of a client: read and checked", f"{client_frame():.1f} µs"]]
    records = [record(offset) for offset in range(RECORDS)]
    renderer = Renderer(log)  # type: ignore[arg-type]
    rows.append(["a record into JSON, once for all", f"{rendering(renderer, records, 1):.1f} µs"])
    for size in (1, 10, 100):
        again = rendering(renderer, records, size) * size
        rows.append([f"a frame of {size} such records, for all at one place", f"{again:.1f} µs"])
    rows.append(["a frame to one more socket", f"{asyncio.run(delivery(renderer, records)):.1f} µs"])
    text = f"{conditions(['orjson', 'pydantic'], 'no services', load_before)}\n\n{table(['what', 'CPU'], rows)}"
    print(text)
    write_between_markers("frames", text, path=DOCUMENT)


def record(offset: int) -> Record:
    message = SendFrame(id=str(uuid4()), room=ROOM, text=TEXT, reply_to=None, retry=False)
    value = codec.encode(message_envelope(message, sender="alice", sender_id=1))
    headers = [("id", message.id.encode())]
    place = Position("messages", 0, offset)
    return Record(place, f"room.{ROOM}", value, codec=codec, headers=headers, timestamp_ms=1_000, arrived=0.0)


def batches_of(records: list[Record], size: int) -> list[Batch]:
    parts = (records[at : at + size] for at in range(0, len(records), size))
    return [Batch(f"room.{ROOM}", tuple(part), part[-1].position.offset) for part in parts]


def client_frame() -> float:
    """Microseconds for one."""
    texts = [orjson.dumps({"type": "send", "id": str(uuid4()), "room": ROOM, "text": TEXT}).decode()] * RECORDS
    begun = process_time()
    for text in texts:
        frame = protocol.parse_frame(text)
        protocol.parse_send(frame, protocol.require_room(frame))
    return (process_time() - begun) / len(texts) * 1e6


def rendering(renderer: Renderer, records: list[Record], size: int) -> float:
    """Microseconds for each record, of which those that were rendered before are remembered."""
    batches = batches_of(records, size)
    begun = process_time()
    for batch in batches:
        batch.render(renderer.room)
    return (process_time() - begun) / len(records) * 1e6


async def delivery(renderer: Renderer, records: list[Record]) -> float:
    """Microseconds for each socket and frame."""
    batches = batches_of(records[: FRAMES * 10], 10)
    readers = [Reader(batches, lambda batch: batch.render(renderer.room)) for _ in range(SOCKETS)]
    begun = process_time()
    lives = [asyncio.create_task(reader.socket.serve()) for reader in readers]
    for reader in readers:
        await reader.done.wait()
    took = process_time() - begun
    for life in lives:
        life.cancel()
    await asyncio.wait(lives)
    return took / (SOCKETS * FRAMES) * 1e6


if __name__ == "__main__":
    main()

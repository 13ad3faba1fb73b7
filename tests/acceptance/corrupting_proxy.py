"""A proxy between clients and a web process that does one wrong thing to what the server sends, and else nothing."""

import asyncio
import json
from threading import Event, Thread
from typing import Any, Self

Frame = dict[str, Any]


class Fault:
    """Done once, to message number `at` of all connections together: "drop", "repeat", "alter", or "swap" with the
    next one of its connection."""

    def __init__(self, kind: str, at: int) -> None:
        self._kind = kind
        self._at = at
        self._count = 0
        self.is_done = False
        # The message that waits for the next one of its connection, and the connection.
        self._held: tuple[object, Frame] | None = None

    def tamper(self, connection: object, message: Frame) -> list[Frame]:
        """What a client gets in the place of a message."""
        self._count += 1
        if self._held is not None and self._held[0] is connection:
            held, self._held = self._held[1], None
            self.is_done = True
            return [message, held]
        if self._count != self._at:
            return [message]
        if self._kind == "swap":
            self._held = (connection, message)
            return []
        self.is_done = True
        altered = {**message, "text": message["text"].replace("x", "y", 1)}
        return {"drop": [], "repeat": [message, message], "alter": [altered]}[self._kind]


class CorruptingProxy:
    """`with CorruptingProxy(port, fault) as url`: the chat at that port, seen through the proxy."""

    def __init__(self, port: int, fault: Fault) -> None:
        self._port = port
        self._fault = fault
        self._started = Event()
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_until_complete, args=(self._serve(),), name="proxy")
        self._end = asyncio.Event()
        self.url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._started.set()
        await self._end.wait()
        server.close()
        connections = asyncio.all_tasks() - {asyncio.current_task()}
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self._port)
        ways = [
            asyncio.create_task(_copy(reader, back_writer)),
            asyncio.create_task(self._answers(back_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            writer.close()
            back_writer.close()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        if b" 101 " not in head.split(b"\r\n")[0]:
            await _copy(reader, writer)
            return
        while True:
            first, payload = await _read_frame(reader)
            text = self._tamper(writer, payload) if first == 0x81 else payload
            if text is not None:
                writer.write(_frame(first, text))
                await writer.drain()

    def _tamper(self, connection: object, payload: bytes) -> bytes | None:
        """What is sent in its place; None: nothing."""
        said = json.loads(payload)
        frames = said if isinstance(said, list) else [said]
        if not any(frame["type"] == "message" for frame in frames):
            return payload
        passed: list[Frame] = []
        for frame in frames:
            passed += self._fault.tamper(connection, frame) if frame["type"] == "message" else [frame]
        return None if not passed else payload if passed == frames else json.dumps(passed).encode()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()


async def _read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    first, size = await reader.readexactly(2)
    if size >= 126:
        size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
    return first, await reader.readexactly(size)


def _frame(first: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        head = bytes((first, size))
    elif size < 1 << 16:
        head = bytes((first, 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, 127)) + size.to_bytes(8, "big")
    return head + payload

"""A client of `chat.v1` for tests: it answers pings, keeps every frame it got, and waits for what a test expects."""

import asyncio
import json
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

Frame = dict[str, Any]
DEADLINE = 20.0  # seconds
TICK = 0.1  # seconds that a wait counts at most from one look to the next
ANSWERS = ("ack", "error", "subscribed", "unsubscribed")


class ChatClient:
    """`async with ChatClient(url, token) as client`: connected and welcomed. All frames in `frames`, in order."""

    def __init__(self, url: str, token: str = "", *, headers: Mapping[str, str] | None = None) -> None:
        self.url = url.replace("http", "ws", 1) + "/ws"
        self.token = token
        # A browser's, in place of the token.
        self._headers = headers or {"Authorization": f"Bearer {token}"}
        self.frames: list[Frame] = []
        self._answers: dict[str, Frame] = {}
        self.close_code: int | None = None
        self._arrived = asyncio.Condition()
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._socket = await connect(self.url, additional_headers=self._headers, compression=None, max_size=None)
        self._reader = asyncio.create_task(self._read(self._socket))
        return self

    async def enter(self, *, deadline: float = 60.0) -> Self:
        """Connect, once more as long as the handshake fails: a server that is busy gives handshakes up."""
        end = monotonic() + deadline
        while True:
            try:
                return await self.__aenter__()
            except (OSError, EOFError, InvalidHandshake, ConnectionClosed):
                if monotonic() > end:
                    raise
            await asyncio.sleep(TICK)

    async def __aexit__(self, *_: object) -> None:
        assert self._socket is not None and self._reader is not None
        await self._socket.close()
        await self._reader

    async def _read(self, socket: ClientConnection) -> None:
        try:
            async for text in socket:
                received = json.loads(text)
                for frame in received if isinstance(received, list) else [received]:
                    if frame["type"] == "ping":
                        await socket.send(json.dumps({"type": "pong", "id": frame["id"]}))
                    await self._keep(frame)
        except ConnectionClosed:
            pass
        finally:
            self.close_code = socket.close_code
            await self._keep({"type": "closed", "code": socket.close_code})

    async def _keep(self, frame: Frame) -> None:
        async with self._arrived:
            self.frames.append(frame)
            if frame["type"] in ANSWERS and "id" in frame:
                self._answers.setdefault(frame["id"], frame)
            self._arrived.notify_all()

    async def send(self, frame: Frame | str | bytes) -> None:
        assert self._socket is not None
        await self._socket.send(json.dumps(frame) if isinstance(frame, dict) else frame)

    def cut(self) -> None:
        """Lose the connection, as when a cable is pulled: nobody says goodbye."""
        assert self._socket is not None
        self._socket.transport.abort()

    async def until(self, condition: Callable[[Self], Any], *, deadline: float = DEADLINE) -> Any:
        """Wait until `condition(self)` is true and return its value; the failure shows the newest frames.

        The time in which this process itself stood still does not count, since what came meanwhile was not read.
        """
        waited, before = 0.0, monotonic()
        async with self._arrived:
            while not (value := condition(self)):
                if waited > deadline:
                    raise AssertionError(f"Nothing as expected in {deadline} s; the last frames: {self.frames[-5:]}")
                with suppress(TimeoutError):
                    async with asyncio.timeout(TICK):
                        await self._arrived.wait()
                now = monotonic()
                waited, before = waited + min(now - before, TICK), now
        return value

    def is_answered(self, id: str) -> bool:
        return id in self._answers

    async def answer(self, id: str) -> Frame:
        """The answer to the frame with this id."""
        frame: Frame = await self.until(lambda self: self._answers.get(id))
        return frame

    async def ask(self, frame: Frame) -> Frame:
        """Send a frame and wait for its answer."""
        frame = {"id": str(uuid.uuid4()), **frame}
        # An earlier answer to the same message is none to this one.
        self._answers.pop(frame["id"], None)
        await self.send(frame)
        return await self.answer(frame["id"])

    async def subscribe(self, room: int, *, after: str | None = None) -> Frame:
        return await self.ask({"type": "subscribe", "room": room, **({"after": after} if after else {})})

    async def say(self, room: int, text: str) -> Frame:
        """Say something and return its acknowledgement."""
        answer = await self.try_to_say(room, text)
        assert answer["type"] == "ack", answer
        return answer

    async def try_to_say(self, room: int, text: str) -> Frame:
        """Say something that may be refused."""
        return await self.ask({"type": "send", "room": room, "text": text})

    def of_type(self, *types: str) -> list[Frame]:
        return [frame for frame in self.frames if frame["type"] in types]

    def texts(self, room: int) -> list[str]:
        return [frame["text"] for frame in self.of_type("message") if frame["room"] == room]

    @property
    def has_ended(self) -> bool:
        return bool(self.frames) and self.frames[-1]["type"] == "closed"

    async def closed(self, *, deadline: float = DEADLINE) -> int | None:
        await self.until(lambda self: self.has_ended, deadline=deadline)
        return self.close_code

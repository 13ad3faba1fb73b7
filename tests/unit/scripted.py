"""A WebSocket server that says exactly what a test tells it to."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve

Frame = dict[str, Any]
DEADLINE = 10.0  # seconds


class Visit:
    """One connection of the client under test, welcomed unless the test says otherwise."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket

    @property
    def headers(self) -> Any:
        assert self.socket.request is not None
        return self.socket.request.headers

    async def say(self, *frames: Frame) -> None:
        """Send frames as one: an object, or an array of several."""
        await self.socket.send(json.dumps(frames[0] if len(frames) == 1 else frames))

    async def welcome(self, *, ping_interval: float = 20) -> None:
        await self.say({"type": "welcome", "user": "alice", "session": "s", "ping_interval": ping_interval})

    async def hear(self) -> Frame:
        """The next frame of the client."""
        async with asyncio.timeout(DEADLINE):
            frame: Frame = json.loads(await self.socket.recv())
            return frame

    async def hear_subscribe(self, *, cursor: str = "c0", recovered: bool = True) -> Frame:
        """Take a `subscribe` and answer it."""
        frame = await self.hear()
        assert frame["type"] == "subscribe"
        answer = {"type": "subscribed", "id": frame["id"], "room": frame["room"], "cursor": cursor}
        await self.say({**answer, "recovered": recovered})
        return frame

    async def ack(self, frame: Frame, *, cursor: str = "c1") -> None:
        await self.say(
            {"type": "ack", "id": frame["id"], "room": frame["room"], "cursor": cursor, "message": frame["id"]}
        )

    async def close(self, code: int) -> None:
        await self.socket.close(code)

    async def ended(self) -> None:
        """The client has gone."""
        async with asyncio.timeout(DEADLINE):
            await self.socket.wait_closed()


class ScriptedServer:
    """`url` is its base; `visit()` is the client's next connection."""

    def __init__(self, server: Server, visits: "asyncio.Queue[Visit]") -> None:
        self._visits = visits
        self.url = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"

    async def visit(self, *, welcome: bool = True, ping_interval: float = 20) -> Visit:
        async with asyncio.timeout(DEADLINE):
            visit = await self._visits.get()
        if welcome:
            await visit.welcome(ping_interval=ping_interval)
        return visit


@asynccontextmanager
async def scripted_server() -> AsyncIterator[ScriptedServer]:
    visits: asyncio.Queue[Visit] = asyncio.Queue()

    async def take(socket: ServerConnection) -> None:
        visits.put_nowait(Visit(socket))
        await socket.wait_closed()

    async with serve(take, "127.0.0.1", 0, ping_interval=None, close_timeout=1) as server:
        yield ScriptedServer(server, visits)


def message(n: int, *, room: int = 12) -> Frame:
    """The room's n-th message."""
    return {"type": "message", "room": room, "cursor": f"c{n}", "id": f"m{n}", "sender": "bob", "text": f"text {n}"}

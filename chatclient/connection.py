"""The life of the WebSocket: connect, answer pings, notice silence, come back with backoff."""

import asyncio
import json
from collections import deque
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from typing import Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.typing import Subprotocol

from chatclient.backoff import Backoff
from chatclient.frames import ANSWERS, Frame, parse_frames

# Close codes after which coming back makes no sense: normal, signed out or a void token, deactivated.
FINAL = frozenset({1000, 4001, 4003})
PATIENCE = 10.0  # seconds until a welcome
# Frames that wait for their answer on one socket. The server holds a bounded number of frames and closes a socket that
# sends more, so a client that comes back with a thousand rooms or messages must not send them all at once.
WINDOW = 64
MAX_FRAME_BYTES = 16 * 1024 * 1024


class Listener(Protocol):
    """Whoever uses the connection; all three are called on the event loop and must not block."""

    def opened(self, welcome: Frame) -> None:
        """A connection is there; nothing of an earlier one is under way any more."""

    def received(self, frame: Frame) -> None:
        """A frame of the server, in order; pings, `welcome` and `reconnect` are dealt with already."""

    def lost(self, unanswered: Collection[str]) -> None:
        """The connection is gone, and with it the frames that wait; `unanswered`: ids of those that went out."""


@dataclass
class Counters:
    """What happened since the start; for load tests and logs."""

    connections: int = 0
    # Tries that ended without a welcome.
    failures: int = 0
    # Messages and notices that came although they were known.
    repeats: int = 0
    # `error` answers to sends, also those after which the message was sent again.
    refusals: int = 0


class Connection:
    """Keeps a WebSocket to one of `urls`, the next of them after each loss."""

    def __init__(
        self, urls: Sequence[str], token: str, *, listener: Listener, backoff: Backoff, counters: Counters
    ) -> None:
        self._urls = cycle([_socket_url(url) for url in urls])
        self._token = token
        self._listener = listener
        self._backoff = backoff
        self._counters = counters
        self._welcomed = False
        # Frames that did not go out yet, oldest first; emptied when the connection is lost.
        self._waiting: deque[Frame] = deque()
        # Ids of the frames that went out and have no answer yet.
        self._unanswered: set[str] = set()
        self._wake = asyncio.Event()
        self._socket: ClientConnection | None = None

    @property
    def is_open(self) -> bool:
        return self._welcomed

    def post(self, frame: Frame) -> None:
        """Send a frame in its turn on the present connection; call it only while there is one."""
        self._waiting.append(frame)
        self._wake.set()

    def withdraw(self, id: str) -> None:
        """Forget a frame that did not go out yet."""
        self._waiting = deque(frame for frame in self._waiting if frame.get("id") != id)

    def drop(self) -> None:
        """Lose the connection, as when a cable is pulled: nobody says goodbye."""
        if self._socket is not None:
            self._socket.transport.abort()

    async def run(self) -> int:
        """Connect, and come back whenever the connection is lost; return the close code that ends it for good."""
        loop = asyncio.get_running_loop()
        while True:
            code = await self._visit(next(self._urls))
            if code in FINAL:
                return code
            await asyncio.sleep(self._backoff.lose(loop.time()))

    async def _visit(self, url: str) -> int | None:
        """One connection from its handshake to its end; return the server's close code, None where there was none."""
        try:
            async with connect(
                url,
                additional_headers={"Authorization": f"Bearer {self._token}"},
                subprotocols=[Subprotocol("chat.v1")],
                compression=None,
                open_timeout=PATIENCE,
                # The protocol has its own.
                ping_interval=None,
                close_timeout=1,
                max_size=MAX_FRAME_BYTES,
            ) as socket:
                await self._serve(socket)
                return socket.close_code
        # Also a refused handshake: an address that opens too many connections is answered so.
        except (OSError, TimeoutError, WebSocketException):
            self._counters.failures += 1
            return None

    async def _serve(self, socket: ClientConnection) -> None:
        self._socket = socket
        writer = asyncio.create_task(self._write(socket), name="chatclient-write")
        try:
            await self._read(socket)
        except ConnectionClosed:
            pass
        except asyncio.CancelledError:
            # With 1000, which tells the others at once that the person has left; websockets would say 1011.
            await socket.close()
            raise
        except (TimeoutError, ValueError):
            # Whoever is silent, or speaks no JSON, would not answer a goodbye either.
            socket.transport.abort()
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            self._lose()

    async def _read(self, socket: ClientConnection) -> None:
        """Read until the connection ends; raise `TimeoutError` after a silence, `ValueError` for what is no JSON."""
        loop, patience = asyncio.get_running_loop(), PATIENCE
        async with asyncio.timeout(patience) as silence:
            async for text in socket:
                for frame in parse_frames(text):
                    if frame["type"] == "welcome":
                        patience = 2 * float(frame["ping_interval"])
                    await self._take(socket, frame)
                silence.reschedule(loop.time() + patience)

    async def _take(self, socket: ClientConnection, frame: Frame) -> None:
        now = asyncio.get_running_loop().time()
        match frame["type"]:
            case "ping":
                # Not in its turn: what waits may wait for long.
                with suppress(ConnectionClosed):
                    await socket.send(json.dumps({"type": "pong", "id": frame["id"]}))
            case "welcome":
                self._welcomed = True
                self._backoff.welcome(now)
                self._counters.connections += 1
                self._listener.opened(frame)
            case "reconnect":
                self._backoff.ask(float(frame["after"]), now)
            case kind:
                if kind in ANSWERS and frame.get("id") in self._unanswered:
                    self._unanswered.discard(frame["id"])
                    self._wake.set()
                self._listener.received(frame)

    async def _write(self, socket: ClientConnection) -> None:
        """The only task that sends what was posted, so that it leaves in order."""
        with suppress(ConnectionClosed):
            while True:
                while self._waiting and len(self._unanswered) < WINDOW:
                    frame = self._waiting.popleft()
                    if "id" in frame:
                        self._unanswered.add(frame["id"])
                    await socket.send(json.dumps(frame))
                self._wake.clear()
                await self._wake.wait()

    def _lose(self) -> None:
        unanswered = frozenset(self._unanswered)
        self._socket = None
        was_open, self._welcomed = self._welcomed, False
        self._waiting.clear()
        self._unanswered.clear()
        if was_open:
            self._listener.lost(unanswered)
        else:
            self._counters.failures += 1


def _socket_url(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"A base URL starts with http:// or https://, and {url!r} does not.")
    return url.rstrip("/").replace("http", "ws", 1) + "/ws"

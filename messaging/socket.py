"""The life of one accepted WebSocket: a task that reads, a task that handles, a task that writes.

Channels' own dispatch makes a task and a thread hop for every event; this loop costs neither. Only handlers that
touch the database pay for a thread.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from django.db import InterfaceError, OperationalError

from accounts.errors import ChatError, ErrorCode
from messaging import protocol
from messaging.protocol import CloseCode, Frame

logger = logging.getLogger(__name__)

# Frames that were read and not yet handled. Daphne's own queue has no bound, so this loop reads eagerly and closes.
MAX_WAITING_FRAMES = 256
# Answers that wait for a reader.
MAX_WAITING_ANSWERS = 1024
# This many `invalid` or `rate_limited` answers within BAD_WINDOW end the socket.
MAX_BAD_ANSWERS = 50
BAD_WINDOW = 10.0  # seconds

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Handle = Callable[[Frame], Awaitable[None]]
Show = Callable[[Any], str | None]


class Socket:
    """`handle` is called with each client frame, one at a time and in order; `show` turns a batch or gap of the
    subscription into the text of a frame, or None for nothing to send.

    `serve()` returns when the connection has ended, whoever ended it.
    """

    def __init__(self, receive: Receive, send: Send, subscription: Any, *, handle: Handle, show: Show) -> None:
        self._receive = receive
        self._send = send
        self._subscription = subscription
        self._handle = handle
        self._show = show
        self._waiting: asyncio.Queue[Frame] = asyncio.Queue(MAX_WAITING_FRAMES)
        self._answers: deque[str] = deque()
        self._closing: asyncio.Future[CloseCode] = asyncio.get_running_loop().create_future()
        # Loop times of the latest refused frames, oldest first.
        self._bad: deque[float] = deque(maxlen=MAX_BAD_ANSWERS)
        # The close code that the client sent; None while connected and when the server closes.
        self.client_code: int | None = None
        # Id of the ping that has not been answered; None: all are.
        self._unanswered: str | None = None
        self._pings = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def was_closed(self) -> bool:
        """Whether it ended on purpose, by its client or since its person may not stay, and was not just lost."""
        ours = self._closing.result() if self._closing.done() else None
        return self.client_code in {1000, 1001} or ours in {CloseCode.SIGNED_OUT, CloseCode.DEACTIVATED}

    def post(self, *frames: Frame) -> None:
        """Queue frames for the writer; they leave in order, ahead of batches not yet taken."""
        if len(self._answers) >= MAX_WAITING_ANSWERS:
            self.close(CloseCode.TOO_SLOW)
            return
        self._answers.append(protocol.render(frames[0] if len(frames) == 1 else frames))
        self._subscription.wake()

    def post_error(self, id: str | None, problem: ChatError) -> None:
        """Answer with an error; too many refused frames in a short time end the socket."""
        self.post(protocol.error(id, problem))
        if problem.code in {ErrorCode.INVALID, ErrorCode.RATE_LIMITED}:
            now = asyncio.get_running_loop().time()
            self._bad.append(now)
            if len(self._bad) == MAX_BAD_ANSWERS and now - self._bad[0] < BAD_WINDOW:
                self.close(CloseCode.TOO_MANY)

    def close(self, code: CloseCode) -> None:
        """Ask for the end of the socket; the first code counts."""
        if not self._closing.done():
            self._closing.set_result(code)

    async def serve(self) -> None:
        """Run the socket to its end. Its tasks are cancelled and awaited before this returns."""
        tasks = [
            asyncio.create_task(self._read(), name="socket-read"),
            asyncio.create_task(self._work(), name="socket-work"),
            asyncio.create_task(self._write(), name="socket-write"),
        ]
        self._timer = asyncio.get_running_loop().call_later(protocol.PING_INTERVAL, self._ping)
        try:
            ends: list[asyncio.Future[Any]] = [*tasks, self._closing]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._timer.cancel()
            # The pending receive must be gone before a close is sent: granian drops a close while one is pending.
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            # A connection that broke while something was sent is an ordinary end.
            if isinstance(result, Exception) and not isinstance(result, OSError):
                logger.error("A socket's task failed.", exc_info=result)
                self.close(CloseCode.RESTART)
        if self._closing.done() and self.client_code is None:
            await self._send({"type": "websocket.close", "code": int(self._closing.result())})

    async def _read(self) -> None:
        """Take frames from the server until the client goes. Pongs count at once, however busy the handler is."""
        while True:
            event = await self._receive()
            if event["type"] == "websocket.disconnect":
                self.client_code = event.get("code", 1006)
                return
            try:
                frame = protocol.parse_frame(event.get("text"))
            except ChatError as problem:
                self.post_error(None, problem)
                continue
            if frame.get("type") == "pong":
                self._pong(frame.get("id"))
            elif self._waiting.full():
                self.close(CloseCode.TOO_MANY)
            else:
                self._waiting.put_nowait(frame)

    async def _work(self) -> None:
        while True:
            frame = await self._waiting.get()
            try:
                await self._handle(frame)
            except ChatError as problem:
                self.post_error(protocol.frame_id(frame), problem)
            except (OperationalError, InterfaceError) as error:
                logger.warning("A frame of the type %.40r met no database: %s", frame.get("type"), error)
                away = ChatError(ErrorCode.UNAVAILABLE, "The database cannot answer now; try again.", retry_after=1)
                self.post_error(protocol.frame_id(frame), away)
            except Exception:
                logger.exception("Handling a frame of the type %.40r failed.", frame.get("type"))
                mistake = ChatError(ErrorCode.INTERNAL, "The server made a mistake; it has been logged.")
                self.post_error(protocol.frame_id(frame), mistake)

    async def _write(self) -> None:
        """Answers first, then what the subscription has; the only task that sends while the socket is open."""
        while True:
            while self._answers:
                await self._send({"type": "websocket.send", "text": self._answers.popleft()})
            item = await self._subscription.next()
            text = None if item is None else self._show(item)
            # Showing may have found a reason to close; then nothing that stands behind it may be sent.
            if self._closing.done():
                return
            if text is not None:
                await self._send({"type": "websocket.send", "text": text})

    def _ping(self) -> None:
        self._pings += 1
        self._unanswered = str(self._pings)
        self.post({"type": "ping", "id": self._unanswered})
        self._timer = asyncio.get_running_loop().call_later(protocol.PONG_DEADLINE, self._check_pong)

    def _check_pong(self) -> None:
        if self._unanswered is not None:
            self.close(CloseCode.NO_PONG)
        pause = protocol.PING_INTERVAL - protocol.PONG_DEADLINE
        self._timer = asyncio.get_running_loop().call_later(pause, self._ping)

    def _pong(self, id: object) -> None:
        if id == self._unanswered:
            self._unanswered = None

"""The life of one accepted WebSocket: a task that reads, a task that handles, a task that writes.

Channels' own dispatch makes a task and a thread hop for every event; this loop costs neither. Only handlers that
touch the database pay for a thread.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from autobahn.exception import Disconnected
from django.db import InterfaceError, OperationalError
from prometheus_client import Counter

from accounts.errors import ChatError, ErrorCode
from kafka_layer import LayerClosed, LayerError
from messaging import protocol
from messaging.flow import FlowControl
from messaging.protocol import CloseCode, Frame, Text

logger = logging.getLogger(__name__)

closed_total = Counter("chat_sockets_closed_total", "WebSockets that the server has closed.", ["code"])
# Each socket adds its own every few seconds: counting each frame here would cost as much as deciding to send it.
frames_total = Counter("chat_frames_sent_total", "WebSocket frames that were sent.")
bytes_total = Counter("chat_bytes_sent_total", "Bytes of their texts.")

# Frames that were read and not yet handled. Daphne's own queue has no bound, so this loop reads eagerly and closes.
MAX_WAITING_FRAMES = 256
# Longer ones wait as they were read, and are parsed again: the objects of a text that is all brackets need twenty times
# its memory.
MAX_PARSED_AHEAD = 256  # characters; most frames are shorter
MAX_WAITING_TEXT = 1024 * 1024  # characters of them
# Answers that wait for a reader.
MAX_WAITING_ANSWERS = 1024
# The next client frame is handled when fewer bytes of answers wait: a resume alone may bring 8 MiB.
MAX_WAITING_BYTES = 1024 * 1024
# This many `invalid` or `rate_limited` answers within BAD_WINDOW end the socket.
MAX_BAD_ANSWERS = 50
BAD_WINDOW = 10.0  # seconds
# What servers raise when something is sent to a client that is gone: uvicorn and granian; daphne.
GONE = (OSError, Disconnected)
GOODBYE_DEADLINE = 1.0  # seconds
# A client that takes nothing any more does not take the closing frame either.
CLOSE_DEADLINE = FLUSH_DEADLINE = 2.0  # seconds
LOOK_INTERVAL = 5.0  # seconds; whether data waits may have changed meanwhile, and with it what the client may take

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Handle = Callable[[Frame], Awaitable[None]]
Show = Callable[[Any], Text | None]


class Socket:
    """`handle` is called with each client frame, one at a time and in order; `show` turns a batch or gap of the
    subscription into the text of a frame, or None for nothing to send.

    What a client does not read waits in the subscription's ring, which is shared by all, and not here
    (`messaging.flow`). `serve()` returns when the connection has ended, whoever ended it.
    """

    def __init__(self, receive: Receive, send: Send, subscription: Any, *, handle: Handle, show: Show) -> None:
        self._receive = receive
        self._send = send
        self._subscription = subscription
        self._handle = handle
        self._show = show
        # Client frames that wait to be handled, and set while there are any: an asyncio.Queue has four deques, 3 KB.
        self._waiting: deque[Frame | str] = deque()
        self._arrived = asyncio.Event()
        self._waiting_text = 0  # characters
        self._answers: deque[Text] = deque()
        self._answers_size = 0  # bytes
        self._closing: asyncio.Future[CloseCode] = asyncio.get_running_loop().create_future()
        # Loop times of the latest refused frames, oldest first.
        self._bad: list[float] = []
        # The close code that the client sent; None while connected and when the server closes.
        self.client_code: int | None = None
        self._flow = FlowControl(asyncio.get_running_loop().time())
        # Set when the client has read on, and the writer may.
        self._read_on = asyncio.Event()
        # Whether a frame is with the writer: it waits for the window, or for the server to take it.
        self._writing = False
        # Whether client frames are handled, and set while no frame waits for the writer.
        self._handling = True
        self._drained = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        # Frames and bytes that are not in the counters yet.
        self._frames = self._bytes = 0

    @property
    def was_closed(self) -> bool:
        """Whether it ended on purpose, by its client or since its person may not stay, and was not just lost."""
        ours = self._closing.result() if self._closing.done() else None
        return self.client_code in {1000, 1001} or ours in {CloseCode.SIGNED_OUT, CloseCode.DEACTIVATED}

    @property
    def is_behind(self) -> bool:
        """Whether so much waits for the client that what can be told later should be."""
        return len(self._answers) >= MAX_WAITING_ANSWERS // 4 or self._answers_size >= MAX_WAITING_BYTES // 4

    def post(self, frame: Frame) -> None:
        """Queue a frame for the writer; frames leave in order, ahead of batches not yet taken."""
        self.post_texts([protocol.render(frame)])

    def post_texts(self, texts: Sequence[Text]) -> None:
        """Queue frames that were rendered for several sockets."""
        if len(self._answers) >= MAX_WAITING_ANSWERS:
            self.close(CloseCode.TOO_SLOW)
            return
        self._answers.extend(texts)
        self._answers_size += sum(text.size for text in texts)
        self._drained.clear()
        self._subscription.wake()

    def post_error(self, id: str | None, problem: ChatError) -> None:
        """Answer with an error; too many refused frames in a short time end the socket."""
        self.post(protocol.error(id, problem))
        if problem.code in {ErrorCode.INVALID, ErrorCode.RATE_LIMITED}:
            now = self._now()
            self._bad = [*self._bad[1 - MAX_BAD_ANSWERS :], now]
            if len(self._bad) == MAX_BAD_ANSWERS and now - self._bad[0] < BAD_WINDOW:
                self.close(CloseCode.TOO_MANY)

    def close(self, code: CloseCode) -> None:
        """Ask for the end of the socket; the first code counts."""
        if not self._closing.done():
            self._closing.set_result(code)

    def stop_handling(self) -> None:
        """Leave what the client sends from now on unanswered; it sends it again, somewhere else."""
        self._handling = False

    async def flush(self) -> None:
        """Return when every frame that was posted has left, or the client has had its time to take them."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._drained.wait(), FLUSH_DEADLINE)

    async def serve(self) -> None:
        """Run the socket to its end. Its tasks are cancelled and awaited before this returns."""
        tasks = [
            asyncio.create_task(self._read(), name="socket-read"),
            asyncio.create_task(self._work(), name="socket-work"),
            asyncio.create_task(self._write(), name="socket-write"),
        ]
        self._watch()
        try:
            ends: list[asyncio.Future[Any]] = [*tasks, self._closing]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not self._closing.done():
                # The client is gone. Where sending found it out, its goodbye may still wait to be read.
                await asyncio.wait(tasks[:1], timeout=GOODBYE_DEADLINE)
        finally:
            if self._timer is not None:
                self._timer.cancel()
            # The pending receive must be gone before a close is sent: granian drops a close while one is pending.
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            self._count()
            # They belong to whoever owns this socket: without the cycle both are freed at once, and a thousand people
            # who go do not wait for the garbage collector, which comes seldom.
            del self._handle, self._show
        for result in results:
            self._note_end(result)
        if self._closing.done() and self.client_code is None:
            await self._send_close(self._closing.result())

    def _note_end(self, result: object) -> None:
        """What a task has ended with. A client that went while something was sent is an ordinary end."""
        if isinstance(result, LayerClosed):
            self.close(CloseCode.RESTART)
        elif isinstance(result, Exception) and not isinstance(result, GONE):
            logger.error("A socket's task failed.", exc_info=result)
            self.close(CloseCode.RESTART)

    async def _send_close(self, code: CloseCode) -> None:
        closed_total.labels(int(code)).inc()
        try:
            async with asyncio.timeout(CLOSE_DEADLINE):
                await self._send({"type": "websocket.close", "code": int(code)})
                # Were the process to end before the client has answered, the system would reset the connection for
                # what came unread, and the client might lose the close and what stands before it.
                while (await self._receive())["type"] != "websocket.disconnect":
                    pass
        except (TimeoutError, *GONE):
            logger.info("A client did not take its close %d.", code)

    async def _read(self) -> None:
        """Take frames from the server until the client goes. Pongs count at once, however busy the handler is."""
        while True:
            event = await self._receive()
            if event["type"] == "websocket.disconnect":
                self.client_code = event.get("code", 1006)
                return
            text: str | None = event.get("text")
            try:
                frame = protocol.parse_frame(text)
            except ChatError as problem:
                self.post_error(None, problem)
                continue
            if frame.get("type") == "pong":
                self._pong(frame.get("id"))
            elif text is not None and len(text) > MAX_PARSED_AHEAD:
                self._wait_text(text)
            else:
                self._wait(frame)

    def _wait_text(self, text: str) -> None:
        if self._waiting_text > MAX_WAITING_TEXT:
            self.close(CloseCode.TOO_MANY)
            return
        self._waiting_text += len(text)
        self._wait(text)

    def _wait(self, frame: Frame | str) -> None:
        if len(self._waiting) >= MAX_WAITING_FRAMES:
            self.close(CloseCode.TOO_MANY)
        else:
            self._waiting.append(frame)
            self._arrived.set()

    async def _work(self) -> None:
        while True:
            while not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
            waiting = self._waiting.popleft()
            while self._answers_size > MAX_WAITING_BYTES:
                await self._drained.wait()
            if isinstance(waiting, str):
                self._waiting_text -= len(waiting)
            if not self._handling:
                continue
            frame: Frame = {}
            try:
                frame = protocol.parse_frame(waiting) if isinstance(waiting, str) else waiting
                await self._handle(frame)
            except ChatError as problem:
                self.post_error(protocol.frame_id(frame), problem)
            except (OperationalError, InterfaceError, LayerError) as error:
                logger.warning("A frame of the type %.40r met no service: %s", frame.get("type"), error)
                away = ChatError(ErrorCode.UNAVAILABLE, "The server cannot do this now; try again.", retry_after=1)
                self.post_error(protocol.frame_id(frame), away)
            except Exception:
                logger.exception("Handling a frame of the type %.40r failed.", frame.get("type"))
                mistake = ChatError(ErrorCode.INTERNAL, "The server made a mistake; it has been logged.")
                self.post_error(protocol.frame_id(frame), mistake)

    async def _write(self) -> None:
        """Answers first, then what the subscription has; the only task that sends while the socket is open."""
        while True:
            while self._answers:
                answer = self._answers.popleft()
                self._answers_size -= answer.size
                await self._put(answer)
            self._drained.set()
            item = await self._subscription.next()
            text = None if item is None else self._show(item)
            # Showing may have found a reason to close; then nothing that stands behind it may be sent.
            if self._closing.done():
                return
            if text is not None:
                await self._put(text)

    async def _put(self, text: Text) -> None:
        """Send a frame when the client has read enough of what came before it, and a ping behind it when one is due."""
        self._writing = True
        while not self._flow.is_open:
            self._read_on.clear()
            await self._read_on.wait()
        await self._send({"type": "websocket.send", "text": text.text})
        self._flow.note_sent(text.size)
        self._frames += 1
        self._bytes += text.size
        if self._flow.needs_ping:
            ping = protocol.render(protocol.ping(self._flow.ping(self._now())))
            await self._send({"type": "websocket.send", "text": ping.text})
            self._frames += 1
            self._bytes += ping.size
        self._writing = False

    def _watch(self) -> None:
        """Ping a quiet client, give up one that does not answer, and look again when either may be due."""
        self._count()
        now = self._now()
        wait = self._flow.seconds_to_ping(now)
        if wait is None:
            wait = self._flow.seconds_to_deadline(now, data_waits=self._writing)
            if wait <= 0:
                self.close(CloseCode.TOO_SLOW if self._writing else CloseCode.NO_PONG)
                return
        elif wait <= 0:
            self.post(protocol.ping(self._flow.ping(now)))
        self._timer = asyncio.get_running_loop().call_later(min(max(wait, 0.1), LOOK_INTERVAL), self._watch)

    def _count(self) -> None:
        frames_total.inc(self._frames)
        bytes_total.inc(self._bytes)
        self._frames = self._bytes = 0

    def _pong(self, id: object) -> None:
        self._flow.pong(id, self._now())
        self._read_on.set()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

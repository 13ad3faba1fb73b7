"""The client: one person on one connection that is kept alive."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from itertools import count
from typing import Any, Self
from uuid import uuid4

from chatclient.backoff import Backoff
from chatclient.connection import Connection, Counters
from chatclient.errors import Ended, Lost
from chatclient.frames import ANSWERS, EPHEMERAL, LOGGED, Frame
from chatclient.history import read_history
from chatclient.outbox import Outbox
from chatclient.rooms import Rooms

# Events that wait for the caller.
MAX_EVENTS = 10_000


class ChatClient:
    """`async with ChatClient(urls, token) as client`: connected; several base URLs are used in turn.

    **Events** are the server's frames, without those that the client answers itself, read with `async for` or handed
    to `on_event` as they come (it must not block). Each message and notice comes once, in the room's order. The client
    adds `{"type": "gap", "room", "after"}`: what follows the cursor `after` cannot be had any more, so read the
    history; and `{"type": "refused", "room", "code"}`: a room could not be resumed. A caller that does not keep up with
    `async for` loses nothing of a room (it is resumed when there is space); of other events it is told by a gap whose
    room is None. A `welcome` is an event of each connection: whoever follows the room list asks for it again then.

    Each method raises `Ended` once the client has been closed, by whichever side. What waits, waits until the server
    can be reached: put a deadline around it where that is too long.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        token: str,
        *,
        on_event: Callable[[Frame], None] | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self._bases = [urls] if isinstance(urls, str) else list(urls)
        self._token = token
        self._on_event = on_event
        self.counters = Counters()
        self._connection = Connection(
            self._bases, token, listener=self, backoff=backoff or Backoff(), counters=self.counters
        )
        self._outbox = Outbox(self._connection, self.counters)
        self._rooms = Rooms(self._connection, self.counters, self._deliver)
        # Id of an `ask` → its answer.
        self._asked: dict[str, asyncio.Future[Frame]] = {}
        self._requests = count(1)
        self._events: deque[Frame] = deque()
        # Events that belong to no room were left out since the caller did not keep up.
        self._left_out = False
        # Set whenever something changes that somebody below waits for.
        self._changed = asyncio.Event()
        self._life: asyncio.Task[None] | None = None
        # The caller has closed it.
        self._closed = False
        self._end: Ended | None = None

    def start(self) -> None:
        """Begin to connect, and return at once."""
        if self._life is None:
            self._life = asyncio.create_task(self._live(), name="chatclient")

    async def close(self) -> None:
        """Say goodbye; what is not acknowledged is given up. Doing it twice is fine."""
        self._closed = True
        if self._life is not None:
            self._life.cancel()
            await asyncio.wait([self._life])
            if not self._life.cancelled():
                self._life.result()

    async def __aenter__(self) -> Self:
        self.start()
        try:
            await self.connected()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def connected(self) -> None:
        """Wait for a connection."""
        while not self._connection.is_open:
            await self._change()

    def drop(self) -> None:
        """Lose the connection, as when a cable is pulled, and come back."""
        self._connection.drop()

    async def subscribe(self, room: int, *, after: str | None = None) -> Frame:
        """See a room from now on, or from after a cursor; return the `subscribed` frame. The room is resumed on each
        later connection. Raises `Refused`."""
        self._require_life()
        answer = self._rooms.subscribe(room, after)
        try:
            return await answer
        except asyncio.CancelledError:
            await self.unsubscribe(room)
            raise

    async def unsubscribe(self, room: int) -> None:
        """See a room no more; no event of it follows."""
        self._rooms.forget(room)
        self.tell({"type": "unsubscribe", "id": f"ask-{next(self._requests)}", "room": room})

    async def send(self, room: int, text: str, *, id: str | None = None, reply_to: str | None = None) -> Frame:
        """Say something; return the `ack` once all in-sync replicas have it. It is sent again after a lost connection
        and after refusals that may pass, and stored once. Messages leave in the order of the calls.

        Raises `Refused`. Cancelled, it is not sent any more, but may have been.
        """
        self._require_life()
        frame: Frame = {"type": "send", "id": id or str(uuid4()), "room": room, "text": text}
        return await self._outbox.say(frame if reply_to is None else {**frame, "reply_to": reply_to})

    async def ask(self, frame: Frame) -> Frame:
        """Send any frame that has an answer, once, on the present connection; the client gives it its `id`. Returns the
        answer, which may be an `error`. Raises `Lost`."""
        self._require_life()
        if not self._connection.is_open:
            raise Lost("There is no connection.")
        id = f"ask-{next(self._requests)}"
        answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._asked[id] = answer
        self._connection.post({**frame, "id": id})
        try:
            return await answer
        finally:
            del self._asked[id]

    def tell(self, frame: Frame) -> bool:
        """Send a frame that has no answer (`typing`, `read`); false without a connection."""
        if self._connection.is_open:
            self._connection.post(frame)
        return self._connection.is_open

    async def history(self, room: int, **query: str | int) -> dict[str, Any]:
        """A page of a room's history over REST: `before`, `after` or `around` a cursor, `limit`. Raises `Refused`, and
        `Lost` when no server answers."""
        return await read_history(self._bases, self._token, room, query)

    async def __aiter__(self) -> AsyncIterator[Frame]:
        """Events as they come; ends with `close()`, and raises `Ended` when the server has ended it for good."""
        while True:
            while not self._events:
                try:
                    await self._change()
                except Ended:
                    if self._closed:
                        return
                    raise
            event = self._events.popleft()
            if len(self._events) == MAX_EVENTS // 2:
                self._go_on()
            yield event

    # What the connection tells

    def opened(self, welcome: Frame) -> None:
        self._deliver(welcome)
        # First the rooms, so that one's own words are seen in them.
        self._rooms.opened()
        self._outbox.opened()
        self._changed.set()

    def received(self, frame: Frame) -> None:
        kind = frame["type"]
        if kind in ANSWERS and (self._outbox.answered(frame) or self._answered(frame)):
            return
        if not self._rooms.received(frame) and kind not in ANSWERS | LOGGED:
            self._deliver(frame)

    def lost(self, unanswered: Collection[str]) -> None:
        self._outbox.lost(unanswered)
        self._rooms.lost()
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(Lost("The connection was lost before the answer came."))

    # Helpers

    async def _live(self) -> None:
        code: int | None = None
        try:
            code = await self._connection.run()
        finally:
            self._end = Ended(code)
            self._outbox.fail(self._end)
            self._rooms.fail(self._end)
            self._changed.set()

    def _require_life(self) -> None:
        if self._end is not None:
            raise self._end

    async def _change(self) -> None:
        """Wait until something has changed; raise `Ended` when nothing will any more."""
        self._require_life()
        self._changed.clear()
        await self._changed.wait()

    def _answered(self, frame: Frame) -> bool:
        answer = self._asked.get(str(frame.get("id")))
        if answer is not None and not answer.done():
            answer.set_result(frame)
        return answer is not None

    def _deliver(self, event: Frame) -> bool:
        """Hand an event to the caller; false when there is no space for one of a room's log, which can be resumed."""
        if self._on_event is not None:
            self._on_event(event)
            return True
        if len(self._events) >= MAX_EVENTS:
            self._left_out |= event["type"] not in EPHEMERAL | LOGGED | {"gap"}
            return False
        self._events.append(event)
        self._changed.set()
        return True

    def _go_on(self) -> None:
        """There is space again."""
        if self._left_out:
            self._left_out = False
            self._deliver({"type": "gap", "room": None, "after": None})
        self._rooms.go_on()

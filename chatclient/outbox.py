"""What was said and is not acknowledged yet: sent again on each connection until the server has it or refuses it."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass

from chatclient.connection import Connection, Counters
from chatclient.errors import ChatClientError, Refused
from chatclient.frames import PASSING, Frame

# Messages that wait for their acknowledgement; who says more waits for a place.
MAX_PENDING = 1000
# How often a message is sent that the server refuses for reasons that may pass.
TRIES = 5
PAUSE = 2.0  # seconds between these tries, at least


@dataclass
class _Pending:
    frame: Frame
    answer: "asyncio.Future[Frame]"
    # It is in the hands of the present connection.
    posted: bool = False
    # It may have reached a server.
    sent: bool = False
    refusals: int = 0


class Outbox:
    """Messages leave in the order in which they were said; one that is refused for a passing reason holds back those of
    its room that are not under way yet."""

    def __init__(self, connection: Connection, counters: Counters) -> None:
        self._connection = connection
        self._counters = counters
        self._places = asyncio.Semaphore(MAX_PENDING)
        # Message id → what is known of it, in the order in which they were said.
        self._pending: dict[str, _Pending] = {}
        # Room → when it goes on.
        self._paused: dict[int, asyncio.TimerHandle] = {}
        # Why nothing is sent any more; None while it is.
        self._end: ChatClientError | None = None

    async def say(self, frame: Frame) -> Frame:
        """Send until it is acknowledged; return the `ack`. Raises `Refused`; cancelled, it is not sent any more."""
        async with self._places:
            if self._end is not None:
                raise self._end
            if frame["id"] in self._pending:
                raise ValueError(f"The message {frame['id']} is being sent already.")
            pending = _Pending(frame, asyncio.get_running_loop().create_future())
            self._pending[frame["id"]] = pending
            self._post(pending)
            try:
                return await pending.answer
            except asyncio.CancelledError:
                self._connection.withdraw(frame["id"])
                raise
            finally:
                del self._pending[frame["id"]]

    def opened(self) -> None:
        """Send everything again."""
        for timer in self._paused.values():
            timer.cancel()
        self._paused.clear()
        for pending in self._pending.values():
            self._post(pending)

    def lost(self, unanswered: Collection[str]) -> None:
        for id, pending in self._pending.items():
            pending.posted = False
            pending.sent |= id in unanswered

    def answered(self, frame: Frame) -> bool:
        """Take an answer; whether it was one to a message."""
        pending = self._pending.get(str(frame.get("id")))
        if pending is None or pending.answer.done():
            return pending is not None
        if frame["type"] == "ack":
            pending.answer.set_result(frame)
        elif frame["type"] == "error":
            self._refuse(pending, Refused(frame))
        return True

    def fail(self, error: ChatClientError) -> None:
        """Nothing will be sent any more."""
        self._end = error
        for timer in self._paused.values():
            timer.cancel()
        for pending in self._pending.values():
            if not pending.answer.done():
                pending.answer.set_exception(error)

    def _post(self, pending: _Pending) -> None:
        if pending.posted or pending.frame["room"] in self._paused or not self._connection.is_open:
            return
        pending.posted = True
        self._connection.post({**pending.frame, "retry": True} if pending.sent else pending.frame)

    def _refuse(self, pending: _Pending, refusal: Refused) -> None:
        self._counters.refusals += 1
        pending.refusals += 1
        if refusal.code not in PASSING or pending.refusals == TRIES:
            pending.answer.set_exception(refusal)
            return
        pending.posted, pending.sent = False, True
        room = pending.frame["room"]
        if room not in self._paused:
            pause = max(PAUSE, refusal.retry_after or 0.0)
            self._paused[room] = asyncio.get_running_loop().call_later(pause, self._go_on, room)

    def _go_on(self, room: int) -> None:
        del self._paused[room]
        for pending in self._pending.values():
            if pending.frame["room"] == room:
                self._post(pending)

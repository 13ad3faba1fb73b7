"""Subscriptions: which rooms are seen, from where a resume goes on, and what has been seen already."""

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import count

from chatclient.connection import Connection, Counters
from chatclient.errors import ChatClientError, Refused
from chatclient.frames import ANSWERS, LOGGED, PASSING, Frame

# Ids of a room's newest messages that are remembered. A resume begins behind the last one seen, so that a repeat can
# only be a recent one.
MAX_SEEN = 4096
PAUSE = 3.0  # seconds until a resume is tried again that was refused for a reason that may pass


class Seen:
    """The newest ids of one room."""

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._order: deque[str] = deque()

    def __contains__(self, id: str) -> bool:
        return id in self._ids

    def add(self, id: str) -> None:
        self._ids.add(id)
        self._order.append(id)
        if len(self._order) > MAX_SEEN:
            self._ids.discard(self._order.popleft())


class Subscription:
    """One room. `cursor`: a resume starts behind it; None: from now on."""

    def __init__(self, room: int, cursor: str | None, answer: "asyncio.Future[Frame]") -> None:
        self.room = room
        self.cursor = cursor
        # For whoever waits for the first answer.
        self.answer = answer
        self.seen = Seen()
        # Id of the newest `subscribe`; answers to earlier ones are void.
        self.request: str | None = None
        # That one was answered; frames before its answer belong to the stream before it.
        self.live = False
        # Events did not fit into the caller's queue; the room goes on from its cursor when there is space again.
        self.stalled = False


class Rooms:
    """`deliver` hands an event to the caller; false when there is no space for it."""

    def __init__(self, connection: Connection, counters: Counters, deliver: Callable[[Frame], bool]) -> None:
        self._connection = connection
        self._counters = counters
        self._deliver = deliver
        self._rooms: dict[int, Subscription] = {}
        self._requests = count(1)

    def subscribe(self, room: int, after: str | None) -> "asyncio.Future[Frame]":
        """The first answer of the server; from now on the room is resumed on each connection."""
        if room in self._rooms:
            raise ValueError(f"Room {room} is subscribed already; unsubscribe from it first.")
        answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        subscription = self._rooms[room] = Subscription(room, after, answer)
        self._ask(subscription)
        return answer

    def forget(self, room: int) -> None:
        """Resume it no more; what still comes of it is dropped."""
        self._rooms.pop(room, None)

    def opened(self) -> None:
        """Resume everything."""
        for subscription in self._rooms.values():
            subscription.stalled = False
            self._ask(subscription)

    def lost(self) -> None:
        for subscription in self._rooms.values():
            subscription.live = False

    def go_on(self) -> None:
        """There is space again for the events that were left out."""
        for subscription in self._rooms.values():
            if subscription.stalled and self._connection.is_open:
                subscription.stalled = False
                self._ask(subscription)

    def fail(self, error: ChatClientError) -> None:
        for subscription in self._rooms.values():
            if not subscription.answer.done():
                subscription.answer.set_exception(error)

    def received(self, frame: Frame) -> bool:
        """Take a frame; false for one that belongs to no subscription."""
        room = frame.get("room")
        subscription = self._rooms.get(room) if isinstance(room, int) else self._requester(frame)
        if subscription is None:
            return False
        kind = frame["type"]
        if kind in {"subscribed", "error"} and frame.get("id") == subscription.request:
            self._start(subscription, frame) if kind == "subscribed" else self._refuse(subscription, Refused(frame))
        elif kind in LOGGED:
            self._follow(subscription, frame)
        elif kind == "removed":
            # Before the answer to a subscription it is late word of an earlier stay; the answer tells more.
            if subscription.live:
                self._end(subscription, Refused({"code": "forbidden", "detail": f"Removed: {frame.get('reason')}."}))
                self._deliver(frame)
        elif kind not in ANSWERS:
            self._deliver(frame)
        return True

    def _requester(self, frame: Frame) -> Subscription | None:
        """Errors do not name their room."""
        if frame["type"] != "error" or frame.get("id") is None:
            return None
        return next((one for one in self._rooms.values() if one.request == frame["id"]), None)

    def _ask(self, subscription: Subscription) -> None:
        subscription.live = False
        if not self._connection.is_open:
            return
        subscription.request = f"subscribe-{next(self._requests)}"
        frame: Frame = {"type": "subscribe", "id": subscription.request, "room": subscription.room}
        self._connection.post(frame if subscription.cursor is None else {**frame, "after": subscription.cursor})

    def _start(self, subscription: Subscription, frame: Frame) -> None:
        if not frame["recovered"] and not self._tell_gap(subscription, frame["cursor"]):
            return
        subscription.live = True
        subscription.cursor = subscription.cursor or frame["cursor"]
        if not subscription.answer.done():
            subscription.answer.set_result(frame)

    def _tell_gap(self, subscription: Subscription, cursor: str | None) -> bool:
        """Something behind the last cursor cannot be had any more; false when the caller has no space to be told, and
        will be with the next try."""
        gap = {"type": "gap", "room": subscription.room, "after": subscription.cursor}
        if not self._deliver(gap):
            subscription.stalled = True
            return False
        subscription.cursor = cursor
        return True

    def _follow(self, subscription: Subscription, frame: Frame) -> None:
        if not subscription.live:
            return
        # An edit and a deletion name their message by another field, and change nothing when they come twice.
        id = frame.get("id")
        if id is not None and id in subscription.seen:
            self._counters.repeats += 1
        elif self._deliver(frame):
            if id is not None:
                subscription.seen.add(id)
        else:
            subscription.live, subscription.stalled = False, True
            return
        subscription.cursor = frame["cursor"]

    def _refuse(self, subscription: Subscription, refusal: Refused) -> None:
        if not subscription.answer.done():
            self._end(subscription, refusal)
        elif refusal.code in PASSING or refusal.code == "internal":
            pause = max(PAUSE, refusal.retry_after or 0.0)
            asyncio.get_running_loop().call_later(pause, self._ask_again, subscription, subscription.request)
        elif refusal.code == "invalid" and subscription.cursor is not None:
            # The cursor is of no use here (any more).
            if self._tell_gap(subscription, None):
                self._ask(subscription)
        else:
            self._end(subscription, refusal)
            self._deliver({"type": "refused", "room": subscription.room, "code": refusal.code})

    def _end(self, subscription: Subscription, reason: Refused) -> None:
        self.forget(subscription.room)
        if not subscription.answer.done():
            subscription.answer.set_exception(reason)

    def _ask_again(self, subscription: Subscription, request: str | None) -> None:
        if self._rooms.get(subscription.room) is subscription and subscription.request == request:
            self._ask(subscription)

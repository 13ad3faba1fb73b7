"""One virtual user on a lean client of its own. Like any client of the protocol it comes back with backoff, resumes by
its cursor, answers pings and says again what was not acknowledged; unlike `chatclient`, it hands nothing to anybody."""

import asyncio
import errno
from itertools import cycle
from typing import Any

import orjson

from chatclient.backoff import Backoff
from chatclient.connection import FINAL
from chatclient.frames import PASSING
from loadtest.cursor import place_of
from loadtest.frames import Frame
from loadtest.plan import Key, Role, Seat
from loadtest.receiver import Receiver
from loadtest.roomlog import Batch
from loadtest.sends import Sends
from loadtest.wire import LOST, WebSocket, connect
from loadtest.world import World

UNKNOWN = "a frame that the protocol does not know"
OWN_LIMITS = frozenset({errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL})
PAUSE = 3.0  # seconds until a subscription is tried again that was refused for a reason that may pass


class VirtualUser:
    """Its room is subscribed from the first connection to `leave`. `is_back`: it was here before, and left."""

    def __init__(self, world: World, seat: Seat, role: Role, *, is_back: bool = False) -> None:
        self._world = world
        self._seat = seat
        self._role = role
        self._is_back = is_back
        self._log = world.logs[world.plan.room_of(seat.user)]
        self.receiver = Receiver(self._log, world.outcome)
        self.sends = Sends(world, self._log, seat.room, self._transmit)
        # Each begins with another server, and all go on with the others.
        at = seat.user % len(world.urls)
        self._urls = cycle([*world.urls[at:], *world.urls[:at]])
        self._backoff = Backoff()
        self._socket: WebSocket | None = None
        self._ended: asyncio.Future[int] | None = None
        self._connections = 0
        # Seconds of silence after which the connection is given up, and the time at which something came.
        self._patience = 10.0
        self._heard = 0.0
        # When its connection was cut in the storm; None: it was not, or is back.
        self._cut_at: float | None = None
        self._has_left = False
        # It has its room on the present connection.
        self.is_live = False
        # When it was told that it follows the list, in seconds of the plan.
        self._followed_at: float | None = None
        self._rooms_shown: set[int] = set()
        self._begun = 0.0
        self._handlers = {
            "ping": self._ping,
            "welcome": self._welcome,
            "subscribed": self._subscribed,
            "ack": self._answer,
            "error": self._answer,
            "message": self._stray,
            "removed": self._removed,
            "room_created": self._room_created,
            "reconnect": self._reconnect,
        }

    async def live(self) -> None:
        """Connect, and come back whenever the connection is lost, until it is closed for good or cancelled."""
        loop = asyncio.get_running_loop()
        self._begun = self._world.now()
        while not self._has_left:
            code = await self._visit(next(self._urls))
            if code in FINAL and not self._has_left:
                self._world.outcome.errors[f"closed for good with {code}"] += 1
                return
            await asyncio.sleep(self._backoff.lose(loop.time()))

    def say(self, key: Key) -> None:
        self.sends.say(key)

    @property
    def is_done(self) -> bool:
        """Everything is answered, and has been seen as far as anybody has seen it."""
        return self.is_back and (self._role is Role.DEAF or (self.sends.is_done and self.receiver.is_level))

    @property
    def is_back(self) -> bool:
        """From the storm."""
        return self._cut_at is None

    def cut(self) -> None:
        """Lose the connection, as when a cable is pulled."""
        # Who comes and goes may be about to leave, and would not come back for the count.
        if self._socket is not None and self._role is not Role.COMER:
            self._world.outcome.cut += 1
            self._cut_at = self._world.now()
            self._socket.abort()

    def look(self) -> None:
        """Give the connection up when it is silent for too long."""
        is_silent = self._world.now() - self._heard > self._patience
        if self._socket is not None and self._role is not Role.DEAF and is_silent:
            self._socket.abort()

    def read(self, *, on: bool) -> None:
        """Read on, or read no more for now."""
        if self._socket is not None and self.is_live:
            self._socket.resume() if on else self._socket.pause()

    def leave(self, *, for_good: bool) -> None:
        """Say goodbye, after which `live` ends by itself or is cancelled. `for_good`: it has stayed to the end."""
        self._has_left = True
        if self._socket is not None:
            self._socket.close()
        if self._role is not Role.DEAF:
            self.receiver.leave(for_good=for_good, is_live=self.is_live)
        self._world.outcome.reconnects += max(0, self._connections - 1)

    # The connection

    async def _visit(self, url: str) -> int:
        """One connection from its handshake to its end; return the close code."""
        self._ended = asyncio.get_running_loop().create_future()
        try:
            self._socket = await connect(url, self._seat.token)
        except OSError as error:
            if error.errno in OWN_LIMITS:
                raise RuntimeError(f"No socket is left for a user ({error}): ulimit -n, ports.") from error
            self._world.outcome.closes[f"no connection: {type(error).__name__}"] += 1
            return LOST
        self._heard = self._world.now()
        self._socket.listen(self._text, self._end)
        try:
            return await self._ended
        finally:
            self._socket.abort()
            self._socket = None
            self.is_live = False
            self.sends.lost()

    def _end(self, code: int) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(code)
            if code != LOST and not self._has_left:
                self._world.outcome.closes[f"closed with {code}"] += 1

    def _transmit(self, text: bytes) -> None:
        if self._socket is not None:
            self._socket.send(text)

    def _post(self, frame: Frame) -> None:
        self._transmit(orjson.dumps(frame))

    def _text(self, payload: bytes) -> None:
        world = self._world
        if self._has_left:
            return
        try:
            items = world.reader.read(payload)
        except ValueError:
            world.outcome.errors[UNKNOWN] += 1
            return
        self._heard = now = world.now()
        if now >= world.schedule.next_at:
            world.schedule.say_due(now)
        for item in items:
            if isinstance(item, Batch):
                self._messages(item)
            else:
                self._take(item)

    # Server frames

    def _take(self, frame: Frame) -> None:
        handle = self._handlers.get(frame["type"])
        if handle is None:
            self._world.outcome.others[frame["type"]] += 1
            return
        try:
            handle(frame)
        except (KeyError, TypeError, ValueError):
            # A part of it is missing, or is not what it should be.
            self._world.outcome.errors[UNKNOWN] += 1

    def _messages(self, batch: Batch) -> None:
        world = self._world
        world.outcome.frames += 1
        world.heard = self._heard
        # Who reads slowly is late by its own fault.
        if self.receiver.take(batch) and self._role is not Role.SLOW:
            world.deliveries.note(batch, world.tick())

    def _ping(self, frame: Frame) -> None:
        self._post({"type": "pong", "id": frame["id"]})

    def _welcome(self, frame: Frame) -> None:
        self._connections += 1
        self._patience = 2 * float(frame["ping_interval"])
        self._backoff.welcome(asyncio.get_running_loop().time())
        # First the room, so that one's own words are seen in it.
        self._subscribe()
        if self._world.plan.follow and self._role is Role.TALKER:
            self._post({"type": "subscribe", "id": "list", "rooms": True})
        self.sends.opened()

    def _subscribe(self) -> None:
        frame: Frame = {"type": "subscribe", "id": "room", "room": self._seat.room}
        cursor = self.receiver.cursor
        self._post(frame if cursor is None else {**frame, "after": cursor})

    def _subscribe_again(self, connection: int) -> None:
        """Unless it is gone: the next one subscribes by itself, and would be shown everything twice."""
        if connection == self._connections and not self.is_live:
            self._subscribe()

    def _subscribed(self, frame: Frame) -> None:
        outcome, now = self._world.outcome, self._world.now()
        if frame["id"] == "list":
            if self._followed_at is None:
                self._followed_at = now
                outcome.followed.append(now)
            return
        if self.receiver.cursor is None:
            outcome.joined += not self._is_back
            outcome.joining.record(now - self._begun)
        if self._cut_at is not None:
            outcome.returning.record(now - self._cut_at)
            self._cut_at = None
        if self.receiver.cursor is None or not frame["recovered"]:
            outcome.gaps += not frame["recovered"]
            self.receiver.start(place_of(frame["cursor"]), frame["cursor"], now)
        self.is_live = True
        if self._role is Role.DEAF and self._socket is not None:
            self._socket.pause()

    def _answer(self, frame: Frame) -> None:
        if self.sends.answered(frame):
            return
        if frame["type"] == "error" and frame.get("id") == "room" and frame["code"] in PASSING | {"internal"}:
            pause = max(PAUSE, float(frame.get("retry_after") or 0))
            asyncio.get_running_loop().call_later(pause, self._subscribe_again, self._connections)
        elif frame["type"] == "error":
            self._world.outcome.errors[str(frame["code"])] += 1

    def _stray(self, frame: Frame) -> None:
        """A message of a room that is none of the plan's."""
        self._world.outcome.foreign += 1

    def _removed(self, frame: Frame) -> None:
        self._world.outcome.errors[f"removed from the room: {frame['reason']}"] += 1

    def _room_created(self, frame: Frame) -> None:
        room: dict[str, Any] = frame["room"]
        number = self._world.plan.created_room(str(room["name"]))
        if number is not None and number not in self._rooms_shown:
            self._rooms_shown.add(number)
            outcome, created_at = self._world.outcome, self._world.plan.created_at(number)
            self._world.heard = self._heard
            # Who began to follow later need not be told.
            if self._followed_at is not None and self._followed_at < created_at:
                outcome.shown[number] += 1
                outcome.creation.record(self._world.now() - created_at)

    def _reconnect(self, frame: Frame) -> None:
        self._backoff.ask(float(frame["after"]), asyncio.get_running_loop().time())

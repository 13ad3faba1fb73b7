"""What one user has said and what became of it: sent again until the server has it or refuses it for good."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

import orjson

from chatclient.frames import PASSING
from loadtest.cursor import place_of
from loadtest.frames import Frame
from loadtest.plan import Key
from loadtest.roomlog import RoomLog
from loadtest.world import World

# Messages that wait for their answer on one socket; a server holds a bounded number of frames.
WINDOW = 64
# How often a message is sent that the server refuses for reasons that may pass, and the seconds between two tries.
TRIES = 5
PAUSE = 2.0
# Seconds after its time from which a send counts as late by the generator's own fault.
LATE = 0.02


@dataclass(slots=True)
class Pending:
    key: Key
    # It may have reached a server.
    sent: bool = False
    refusals: int = 0


class Sends:
    """`transmit` puts a text frame on the present socket. `room` is the chat's number."""

    def __init__(self, world: World, log: RoomLog, room: int, transmit: Callable[[bytes], None]) -> None:
        self._world = world
        self._log = log
        self._room = room
        self._transmit = transmit
        # Message id → what is known of it, in the order in which they were said.
        self._pending: dict[str, Pending] = {}
        # Ids that did not go out on the present socket, and how many that did are not answered.
        self._waiting: deque[str] = deque()
        self._under_way = 0
        self._is_open = False
        # Sockets so far; a new one sends everything again by itself.
        self._sockets = 0

    @property
    def is_done(self) -> bool:
        return not self._pending

    def say(self, key: Key) -> None:
        """Its time has come."""
        world = self._world
        lateness = world.now() - world.plan.sent_at(key)
        world.outcome.latest = max(world.outcome.latest, lateness)
        world.outcome.late += lateness > LATE
        world.outcome.sent += 1
        world.outcome.unacknowledged.add(key)
        id = str(uuid4())
        self._pending[id] = Pending(key)
        self._waiting.append(id)
        self._pump()

    def opened(self) -> None:
        """A socket is there: everything goes out (again), in order."""
        self._is_open = True
        self._sockets += 1
        self._waiting = deque(self._pending)
        self._under_way = 0
        self._pump()

    def lost(self) -> None:
        self._is_open = False

    def answered(self, frame: Frame) -> bool:
        """Take an `ack` or `error`; whether it was for a message."""
        pending = self._pending.get(str(frame.get("id")))
        if pending is None:
            return False
        self._under_way -= 1
        if frame["type"] == "ack":
            self._acknowledge(frame["id"], pending.key, str(frame["cursor"]))
        else:
            self._refuse(frame, pending)
        self._pump()
        return True

    def _acknowledge(self, id: str, key: Key, cursor: str) -> None:
        world, outcome = self._world, self._world.outcome
        del self._pending[id]
        outcome.acknowledged += 1
        outcome.unacknowledged.discard(key)
        if not self._log.agrees(key, place_of(cursor)):
            outcome.out_of_order += 1
        intended = world.plan.sent_at(key)
        if intended >= world.plan.steady_from:
            outcome.acknowledgement.record(world.now() - intended)

    def _refuse(self, frame: Frame, pending: Pending) -> None:
        self._world.outcome.refusals += 1
        pending.refusals += 1
        if frame["code"] not in PASSING or pending.refusals == TRIES:
            self._world.outcome.errors[str(frame["code"])] += 1
            del self._pending[frame["id"]]
            return
        self._log.record.resent.add(pending.key)
        pause = max(PAUSE, float(frame.get("retry_after") or 0))
        asyncio.get_running_loop().call_later(pause, self._again, frame["id"], self._sockets)

    def _again(self, id: str, socket: int) -> None:
        if id in self._pending and socket == self._sockets:
            self._waiting.append(id)
            self._pump()

    def _pump(self) -> None:
        while self._is_open and self._waiting and self._under_way < WINDOW:
            id = self._waiting.popleft()
            pending = self._pending[id]
            frame: Frame = {"type": "send", "id": id, "room": self._room, "text": self._world.plan.text(pending.key)}
            if pending.sent:
                frame["retry"] = True
            pending.sent = True
            self._under_way += 1
            self._transmit(orjson.dumps(frame))

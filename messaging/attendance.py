"""Who is in a room right now, told by `joined`, `left` and `presence` frames: leases that a crash cannot keep."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, NamedTuple

from accounts.redis_calls import RedisUnavailable
from kafka_layer import LayerError
from messaging import protocol
from messaging.protocol import Frame, Text
from rooms.presence import Applied, Kind, Presence, Step

logger = logging.getLogger(__name__)

RENEW_INTERVAL = 10.0  # seconds; a third of a lease
SWEEP_INTERVAL = 2.5  # seconds; half of what a lost connection keeps
TELL_INTERVAL = 1.0  # seconds between two looks whether a room's number may be told
LOST_AFTER = 5.0  # seconds that a lost connection has to come back
# Who goes sooner after coming is told as late as a lost connection: nobody enters and leaves in others' sight at will.
CALM = 3.0  # seconds
# Comings and goings that follow each other go to Redis together: one call costs the loop as much as ten steps in it.
GATHER_INTERVAL = 0.05  # seconds
FLUSH_DEADLINE = 3.0  # seconds

# Takes the `presence` frame of a room for one socket.
ShowPeople = Callable[[Text], None]


def live_group(room: int) -> str:
    """The group of a room's ephemeral events; it is on the layer's own topic, where records may be lost."""
    return f"live.{room}"


class Coming(NamedTuple):
    """A step on its way to Redis. `announce`: whether the others are told by `joined`; `show` is called when it is
    known who is there."""

    step: Step
    announce: bool = False
    show: ShowPeople | None = None


class Attendance:
    """The sockets of this web process in rooms; belongs to one event loop.

    `enter`, `leave` and `lose` return at once; `keep` takes them to Redis in their order. Redis may be away: then
    nobody is announced, a warning says so once, and everything else goes on.
    """

    def __init__(self, layer: Any, presence: Presence) -> None:
        self._layer = layer
        self._presence = presence
        # room pk → (username, session) of each socket of this process that is in the room.
        self._here: dict[int, set[tuple[str, str]]] = {}
        # (room pk, username) → loop time of the person's latest coming on this process, while it is not long ago.
        self._entered: dict[tuple[int, str], float] = {}
        # What Redis does not know yet.
        self._comings: list[Coming] = []
        self._woken, self._taken = asyncio.Event(), asyncio.Event()
        self._taken.set()
        # Rooms that may have a number or names to tell.
        self._tell: set[int] = set()
        # Loop times of what is to be done next.
        self._renew_at = self._sweep_at = self._tell_at = 0.0
        self._unavailable = False

    def enter(self, room: int, user: str, session: str, *, announce: bool, show: ShowPeople) -> None:
        """A socket entered a room; the first one of a person is announced, by its name unless `announce` is false."""
        self._here.setdefault(room, set()).add((user, session))
        self._entered[room, user] = asyncio.get_running_loop().time()
        self._take(Coming(Step(Kind.ENTER, room, user, session), announce, show))

    def leave(self, room: int, user: str, session: str) -> None:
        """A socket left a room on purpose; the last one of a person is announced at once, or soon where it has just
        come."""
        if asyncio.get_running_loop().time() - self._entered.get((room, user), -CALM) < CALM:
            self.lose(room, user, session)
            return
        self._forget(room, user, session)
        self._take(Coming(Step(Kind.LEAVE, room, user, session)))

    def lose(self, room: int, user: str, session: str) -> None:
        """A socket's connection was lost; unless the person comes back in time, the sweep announces it."""
        self._forget(room, user, session)
        self._take(Coming(Step(Kind.LOSE, room, user, session, int(LOST_AFTER * 1000))))

    async def flush(self) -> None:
        """Return when Redis knows of everything, or could not be told in time. `keep` must be running."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._taken.wait(), FLUSH_DEADLINE)

    async def keep(self) -> None:
        """Take comings and goings to Redis, renew the leases of this process, sweep ended ones and tell numbers, for
        ever."""
        while True:
            await self._wait()
            try:
                await self._work()
            except RedisUnavailable as error:
                self._warn(error)
                self._sweep_at = asyncio.get_running_loop().time() + SWEEP_INTERVAL
            else:
                self._unavailable = False
            await asyncio.sleep(GATHER_INTERVAL)

    def _take(self, coming: Coming) -> None:
        self._comings.append(coming)
        self._taken.clear()
        self._woken.set()

    def _forget(self, room: int, user: str, session: str) -> None:
        sockets = self._here.get(room, set())
        sockets.discard((user, session))
        if not sockets:
            self._here.pop(room, None)

    async def _wait(self) -> None:
        """Until there is something to do."""
        next_at = min(self._sweep_at, self._tell_at) if self._tell and not self._unavailable else self._sweep_at
        with suppress(TimeoutError):
            async with asyncio.timeout_at(next_at):
                await self._woken.wait()

    async def _work(self) -> None:
        now = asyncio.get_running_loop().time()
        await self._take_to_redis()
        if self._presence.must_renew or now >= self._renew_at:
            self._renew_at = now + RENEW_INTERVAL
            self._tell |= await self._presence.renew(self._here)
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_INTERVAL
            self._entered = {who: at for who, at in self._entered.items() if now - at < CALM}
            gone, tell = await self._presence.sweep()
            self._tell |= tell
            for room, user in gone:
                await self._send(room, {"type": "left", "room": room, "user": user})
        if self._tell and now >= self._tell_at:
            self._tell_at = now + TELL_INTERVAL
            await self._tell_numbers()

    async def _take_to_redis(self) -> None:
        """What Redis cannot be told is forgotten: who came is renewed later, and who went has a lease that ends. It may
        have heard of it all the same, and only its answer be lost; so the rooms are told who is there."""
        comings, self._comings = self._comings, []
        self._woken.clear()
        try:
            if comings:
                await self._announce(comings, await self._presence.apply([coming.step for coming in comings]))
        except RedisUnavailable:
            self._tell |= {coming.step.room for coming in comings}
            raise
        finally:
            if not self._comings:
                self._taken.set()

    async def _announce(self, comings: Iterable[Coming], applied: Applied) -> None:
        self._tell |= applied.tell
        texts = {room: protocol.render(protocol.presence(room, *people)) for room, people in applied.rooms.items()}
        for ((kind, room, user, _, _), announce, show), moved in zip(comings, applied.moved, strict=True):
            if show is not None:
                show(texts[room])
            if moved and kind == Kind.LEAVE:
                await self._send(room, {"type": "left", "room": room, "user": user})
            elif moved and announce:
                await self._send(room, {"type": "joined", "room": room, "user": user})
            elif moved:
                self._tell.add(room)

    async def _tell_numbers(self) -> None:
        rooms = sorted(self._tell)
        known, again = await self._presence.tell(rooms)
        self._tell = (self._tell - set(rooms)) | again
        for room, people in known.items():
            await self._send(room, protocol.presence(room, *people))

    async def _send(self, room: int, frame: Frame) -> None:
        """Ephemeral: what Kafka does not take is lost."""
        try:
            await self._layer.group_send(live_group(room), frame)
        except LayerError as error:
            logger.warning("A %s was not announced: %s", frame["type"], error)

    def _warn(self, error: RedisUnavailable) -> None:
        if not self._unavailable:
            logger.warning("Nobody is announced at the moment: %s", error)
        self._unavailable = True

"""Who is in a room right now, told to the others: `joined` and `left`, by leases that a crash cannot keep."""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from kafka_layer import LayerError
from messaging.protocol import Frame
from rooms.presence import Presence, PresenceUnavailable

logger = logging.getLogger(__name__)

RENEW_INTERVAL = 10.0  # seconds; a third of a lease
SWEEP_INTERVAL = 2.5  # seconds; half of what a lost connection keeps
LOST_AFTER = 5.0  # seconds that a lost connection has to come back


def live_group(room: int) -> str:
    """The group of a room's ephemeral events; it is on the layer's own topic, where records may be lost."""
    return f"live.{room}"


class Attendance:
    """The sockets of this web process in rooms; belongs to one event loop.

    Redis may be away: then nobody is announced, a warning says so once, and everything else goes on.
    """

    def __init__(self, layer: Any, presence: Presence) -> None:
        self._layer = layer
        self._presence = presence
        # (room pk, username, session) of each socket of this process that is in a room.
        self._here: set[tuple[int, str, str]] = set()
        self._unavailable = False

    async def enter(self, room: int, user: str, session: str, *, announce: bool) -> None:
        """A socket entered a room; the first one of a person is announced unless `announce` is false."""
        self._here.add((room, user, session))
        try:
            first = await self._presence.enter(room, user, session)
        except PresenceUnavailable as error:
            self._warn(error)
            return
        if first and announce:
            await self._tell(room, {"type": "joined", "room": room, "user": user})

    async def leave(self, room: int, user: str, session: str) -> None:
        """A socket left a room on purpose; the last one of a person is announced at once."""
        self.forget([room], user, session)
        try:
            last = await self._presence.leave(room, user, session)
        except PresenceUnavailable as error:
            self._warn(error)
            return
        if last:
            await self._tell(room, {"type": "left", "room": room, "user": user})

    def forget(self, rooms: Iterable[int], user: str, session: str) -> None:
        """Renew no lease of a socket that has ended, whatever comes in the way of leaving its rooms."""
        self._here.difference_update((room, user, session) for room in rooms)

    async def lose(self, room: int, user: str, session: str) -> None:
        """A socket's connection was lost; unless the person comes back in time, the sweep announces it."""
        self.forget([room], user, session)
        try:
            await self._presence.expire_after(room, user, session, LOST_AFTER)
        except PresenceUnavailable as error:
            self._warn(error)

    async def keep(self) -> None:
        """Renew the leases of this process and sweep ended ones of its rooms, for ever."""
        loop = asyncio.get_running_loop()
        renew_at = loop.time()
        while True:
            await asyncio.sleep(SWEEP_INTERVAL)
            try:
                if loop.time() >= renew_at:
                    renew_at = loop.time() + RENEW_INTERVAL
                    await self._presence.renew(list(self._here))
                gone = await self._presence.sweep(sorted({room for room, _, _ in self._here}))
            except PresenceUnavailable as error:
                self._warn(error)
                continue
            self._unavailable = False
            for room, user in gone:
                await self._tell(room, {"type": "left", "room": room, "user": user})

    async def _tell(self, room: int, frame: Frame) -> None:
        """Ephemeral: what Kafka does not take is lost."""
        try:
            await self._layer.group_send(live_group(room), frame)
        except LayerError as error:
            logger.warning("A %s was not announced: %s", frame["type"], error)

    def _warn(self, error: PresenceUnavailable) -> None:
        if not self._unavailable:
            logger.warning("Nobody is announced at the moment: %s", error)
        self._unavailable = True

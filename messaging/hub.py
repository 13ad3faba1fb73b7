"""What the sockets of one web process share: the log, the access cache, the attendance."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import cache, partial
from typing import Protocol

from channels.layers import get_channel_layer
from django.conf import settings
from django.db.models.functions import Now

from accounts.models import AccessChange
from kafka_layer import Batch
from messaging.access import AccessCache
from messaging.attendance import Attendance
from messaging.database import in_database, until_answered
from messaging.drain import drain_on_signals
from messaging.live import LiveFigures
from messaging.log import RoomLog
from messaging.loop_lag import watch_loop
from messaging.open_sockets import OpenSockets
from messaging.reading import ReadMarks
from messaging.render import Renderer
from messaging.typing import Typing
from messaging.unread import UnreadFeed
from rooms.models import Membership
from rooms.presence import Presence

logger = logging.getLogger(__name__)

# A server that stops sends its people elsewhere; the others must not get them all in the same moment.
RECONNECTS_PER_SECOND = 50
RECONNECT_SPREAD = 10.0  # seconds, at most
DRAIN_PATIENCE = 10.0  # seconds beyond the spread, for what is still under way
CLOSE_DEADLINE = 2.0  # seconds that background tasks have to end

RESTART_INTERVAL = 1.0  # seconds until a background task that failed begins again

# Who was a member of a room that was deleted is told of it within seconds; news that is older reaches nobody.
DELETED_LATELY = timedelta(minutes=10)

# (room pk, user pk)
Members = frozenset[tuple[int, int]]


class Visit(Protocol):
    """One person on one socket."""

    @property
    def user_id(self) -> int: ...

    async def drain(self, after: float) -> None:
        """End in about `after` seconds, with everything answered."""


class Hub:
    """`log` serves any event loop; the others belong to the one that serves the sockets."""

    def __init__(self, log: RoomLog, access: AccessCache, attendance: Attendance, sockets: OpenSockets) -> None:
        self.log = log
        self.access = access
        self.attendance = attendance
        self.sockets = sockets
        self.unread = UnreadFeed(log.layer, access)
        self.reads = ReadMarks(log)
        self.typing = Typing(log.layer)
        # One for all sockets: batches share renderings by the function that makes them.
        self.renderer = Renderer(log)
        # The people who are served here now, each on one socket.
        self.visits: set[Visit] = set()
        # Whether the process is about to stop: it serves on, but takes nobody new.
        self.draining = False
        # The event loop that serves the sockets; None before the first.
        self._loop: asyncio.AbstractEventLoop | None = None
        # The background tasks; kept here, since a loop holds its tasks weakly.
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start what is not running yet. Every socket awaits this first."""
        await self.log.start()
        if not self._tasks:
            self._loop = asyncio.get_running_loop()
            self._tasks = [
                asyncio.create_task(_run_on(self.access.watch), name="access-watch"),
                asyncio.create_task(_run_on(self.attendance.keep), name="attendance"),
                asyncio.create_task(_run_on(self._tell_figures), name="live-figures"),
                asyncio.create_task(_run_on(self.sockets.keep), name="open-sockets"),
                asyncio.create_task(_run_on(watch_loop), name="loop-lag"),
                asyncio.create_task(_run_on(self.unread.keep), name="unread"),
                asyncio.create_task(_run_on(self.unread.catch_up), name="unread-late"),
                asyncio.create_task(_run_on(self.reads.keep), name="read-marks"),
            ]
            drain_on_signals(self.drain)

    async def drain(self) -> None:
        """Take no new socket, ask the people here to come back elsewhere, spread over a while, and leave nothing
        unsent. Takes `RECONNECT_SPREAD` and a few seconds at most."""
        self.draining = True
        visits = list(self.visits)
        spread = min(RECONNECT_SPREAD, len(visits) / RECONNECTS_PER_SECOND)
        logger.info("Stopping: %d sockets are asked to come back within %.1f s.", len(visits), spread)
        ends = [asyncio.create_task(visit.drain(random.uniform(0, spread))) for visit in visits]  # noqa: S311
        if ends:
            await asyncio.wait(ends, timeout=spread + DRAIN_PATIENCE)
        await self.close()
        await self.reads.flush()
        await self.log.layer.close()
        logger.info("Stopped: %d sockets are left.", len(self.visits))

    async def _tell_figures(self) -> None:
        live = LiveFigures(settings.REDIS_URL, **settings.REDIS_OPTIONS)
        try:
            await live.keep_telling(self._figures)
        finally:
            await live.close()

    def _figures(self) -> tuple[dict[str, float], set[int]]:
        lag = self.log.layer.gauges["lag_seconds"]
        return {"connections": len(self.visits), "lag_seconds": lag}, {visit.user_id for visit in self.visits}

    def problem(self) -> str | None:
        """Why no socket should be brought here; None when there is no reason."""
        if self.draining:
            return "The server stops."
        return None if self.log.layer.ready else "The log has not been read up to its end."

    def drain_from_outside(self) -> None:
        """`drain` from another thread; returns when it is done."""
        if self._loop is None:
            self.draining = True
        else:
            asyncio.run_coroutine_threadsafe(self.drain(), self._loop).result()

    def read_private_members(self, batch: Batch) -> "asyncio.Task[Members]":
        """Who the members of the private rooms in a batch of the room list are: one query for all sockets."""
        rooms = {room for room, _ in batch.render(self.renderer.room_list).private}
        return asyncio.create_task(until_answered(partial(in_database(_read_members), rooms)))

    def act_on_access_changes(self, batch: Batch) -> None:
        """Tell all sockets of a person here of changes of the person's rights, once."""
        user = int(batch.group.partition(".")[2])
        for change in self.renderer.access_changes(batch):
            self.access.invalidate(user, change["room"], change["reason"])

    async def close(self) -> None:
        """End the background tasks; a new `start` begins them again."""
        await self.attendance.flush()
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            # A library may swallow a cancellation (redis-py while it connects), which must not hold up the process.
            _, left = await asyncio.wait(tasks, timeout=CLOSE_DEADLINE)
            if left:
                logger.warning("Still running: %s.", ", ".join(sorted(task.get_name() for task in left)))


async def _run_on(work: Callable[[], Awaitable[None]]) -> None:
    """Run what is to run for ever; a fault that it did not foresee is logged, and it begins again."""
    while True:
        try:
            await work()
        except Exception:
            logger.exception("%s has failed and begins again.", work.__qualname__)
        await asyncio.sleep(RESTART_INTERVAL)


@cache
def get_hub() -> Hub:
    """The hub of this process."""
    layer = get_channel_layer()
    return Hub(
        RoomLog(layer),
        AccessCache(),
        Attendance(layer, Presence(settings.REDIS_URL, **settings.REDIS_OPTIONS)),
        OpenSockets(settings.REDIS_URL, most=settings.MAX_SOCKETS, **settings.REDIS_OPTIONS),
    )


def _read_members(rooms: set[int]) -> Members:
    """Those of a room that was deleted are known, for a while, by what took their rights away."""
    members = Membership.objects.filter(room__in=rooms).values_list("room_id", "user_id")
    changes = AccessChange.objects.filter(room_id__in=rooms, reason="deleted", created_at__gt=Now() - DELETED_LATELY)
    return frozenset([*members, *((change.room_id or 0, change.user_id) for change in changes)])

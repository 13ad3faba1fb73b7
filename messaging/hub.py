"""What the sockets of one web process share: the log, the access cache, the attendance."""

import asyncio
from functools import cache

from channels.layers import get_channel_layer
from django.conf import settings

from messaging.access import AccessCache
from messaging.attendance import Attendance
from messaging.log import RoomLog
from messaging.render import Renderer
from rooms.presence import Presence


class Hub:
    """`log` serves any event loop; `access` and `attendance` belong to the one that serves the sockets."""

    def __init__(self, log: RoomLog, access: AccessCache, attendance: Attendance) -> None:
        self.log = log
        self.access = access
        self.attendance = attendance
        # One for all sockets: batches share renderings by the function that makes them.
        self.renderer = Renderer(log)
        # The background tasks; kept here, since a loop holds its tasks weakly.
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start what is not running yet. Every socket awaits this first."""
        await self.log.start()
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self.access.watch(), name="access-watch"),
                asyncio.create_task(self.attendance.keep(), name="attendance"),
            ]

    async def close(self) -> None:
        """End the background tasks; a new `start` begins them again."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@cache
def get_hub() -> Hub:
    """The hub of this process."""
    layer = get_channel_layer()
    return Hub(
        RoomLog(layer, bootstrap_servers=settings.KAFKA_BOOTSTRAP_SERVERS),
        AccessCache(),
        Attendance(layer, Presence(settings.REDIS_URL, **settings.REDIS_OPTIONS)),
    )

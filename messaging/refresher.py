"""Reading again from the database what may have changed, at most twice for any number of changes."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any

from messaging.database import until_answered

Read = Callable[[], Awaitable[None]]


class Refresher:
    """Belongs to one event loop; `spawn` begins a task and keeps it."""

    def __init__(self, spawn: Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]) -> None:
        self._spawn = spawn
        # What is read at the moment → how it is read once more, behind that; None: it is not.
        self._reading: dict[Hashable, Read | None] = {}

    def read(self, what: Hashable, read: Read) -> None:
        """Begin to read something. While a reading has begun already, which may have been too early for this change,
        one more follows it, by the latest `read`."""
        if what in self._reading:
            self._reading[what] = read
            return
        self._reading[what] = None
        self._spawn(self._run(what, read))

    async def _run(self, what: Hashable, read: Read) -> None:
        try:
            following: Read | None = read
            while following is not None:
                await until_answered(following)
                following, self._reading[what] = self._reading[what], None
        finally:
            del self._reading[what]

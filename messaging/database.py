"""How the event loop asks the database."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import partial
from time import monotonic
from typing import TypeVar

from channels.db import database_sync_to_async
from django.db import InterfaceError, OperationalError

T = TypeVar("T")

GRACE = 60.0  # seconds that the sockets go on by what is known while PostgreSQL is away

# Queries run in the loop's own threads, each with a connection from the pool; the one thread that Django's sync
# views share would serve them one after the other.
in_database = partial(database_sync_to_async, thread_sensitive=False)


async def until_answered(read: Callable[[], Awaitable[T]]) -> T:
    """The answer to a question; while the database is away or has too many to answer it is asked again, about once a
    second. Raises Django's error after `GRACE`."""
    end = monotonic() + GRACE
    while True:
        try:
            return await read()
        except (OperationalError, InterfaceError):
            if monotonic() > end:
                raise
        # At random, so that thousands do not ask in the same moment.
        await asyncio.sleep(random.uniform(0.5, 1.5))  # noqa: S311 (no secret)

"""Asking Redis from an event loop, in bounded time."""

import asyncio
from collections.abc import Awaitable
from typing import Any

from redis.exceptions import RedisError

DEADLINE = 2.0  # seconds, for each call as a whole


class RedisUnavailable(Exception):
    """Redis did not answer in time; it holds nothing that must not be lost."""


async def in_time(call: Awaitable[Any]) -> Any:
    """The answer of a call; raise `RedisUnavailable` when there is none within `DEADLINE`.

    The call has a task of its own: the client may swallow a cancellation, and the caller would live on. One that nobody
    waits for any more ends by the time-out of its socket.
    """
    task = asyncio.ensure_future(call)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # it may have no other reader
    done, _ = await asyncio.wait([task], timeout=DEADLINE)
    if not done:
        task.cancel()
        raise RedisUnavailable(f"Redis: no answer in {DEADLINE:g} s")
    try:
        return task.result()
    except (RedisError, OSError, TimeoutError) as error:
        raise RedisUnavailable(f"Redis: {type(error).__name__} {error}".rstrip()) from error

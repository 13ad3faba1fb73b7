"""One call for all who want the same at the same time, such as everybody who comes back to a room at once."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


class SingleFlight:
    """Callers of one event loop share a call with its result or error. A caller that is cancelled ends its own wait
    only. What comes back may have been asked just before the caller came."""

    def __init__(self) -> None:
        # (event loop, key) → the call under way.
        self._calls: dict[tuple[asyncio.AbstractEventLoop, Hashable], asyncio.Task[Any]] = {}

    async def do(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work()`, or of one with the same key that is under way."""
        place = asyncio.get_running_loop(), key
        call = self._calls.get(place)
        if call is None:
            call = self._calls[place] = asyncio.ensure_future(_run(work))
            call.add_done_callback(partial(self._land, place))
        result: T = await asyncio.shield(call)
        return result

    def _land(self, place: tuple[asyncio.AbstractEventLoop, Hashable], call: "asyncio.Task[Any]") -> None:
        del self._calls[place]
        if not call.cancelled():
            call.exception()  # all who would have heard of it may be gone


async def _run(work: Callable[[], Awaitable[T]]) -> T:
    return await work()

"""Questions to the database that come while it answers others are asked together (as DataLoader does), so that a
thousand people who come back at once cost a few queries and not some thousands."""

import asyncio
from collections.abc import Callable, Collection, Hashable, Mapping
from itertools import islice
from typing import Generic, TypeVar

from messaging.database import in_database

MOST = 200  # keys of one question

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BatchLoader(Generic[K, V]):
    """Of one event loop. `load` gets different keys in a thread, and answers those that it has an answer for."""

    def __init__(self, load: Callable[[Collection[K]], Mapping[K, V]]) -> None:
        self._load = load
        # What is to be asked next.
        self._waiting: dict[K, asyncio.Future[V | None]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def get(self, key: K) -> V | None:
        """The answer to a question that is put after this call, or None without one. Raises what `load` raises."""
        future = self._waiting.get(key)
        if future is None:
            future = self._waiting[key] = asyncio.get_running_loop().create_future()
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(), name="batch-loader")
        return await asyncio.shield(future)

    async def _ask(self) -> None:
        try:
            while self._waiting:
                asked = dict(islice(self._waiting.items(), MOST))
                for key in asked:
                    del self._waiting[key]
                try:
                    answers = await in_database(self._load)(asked.keys())
                    for key, future in asked.items():
                        future.set_result(answers.get(key))
                except Exception as error:
                    for future in asked.values():
                        future.set_exception(error)
                        future.exception()  # all who would have heard of it may be gone
                finally:
                    # Those without an answer, when this task is cancelled.
                    for future in asked.values():
                        future.cancel()
        finally:
            self._asking = None
            # Nobody would ask for them any more.
            for future in self._waiting.values():
                future.cancel()
            self._waiting.clear()

"""Questions that come while others are answered are put together."""

import asyncio
from collections.abc import Collection
from threading import Event

import pytest

from messaging.batch_loader import MOST, BatchLoader


class Database:
    """Answers each number with its double, and odd ones never; `open` lets it answer."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.open, self.busy = Event(), Event()

    def load(self, keys: Collection[int]) -> dict[int, int]:
        self.asked.append(list(keys))
        self.busy.set()
        self.open.wait(10)
        return {key: 2 * key for key in keys if key % 2 == 0}


async def test_what_is_asked_during_a_question_is_asked_in_the_next_one() -> None:
    """Also what the first question asks already: its answer may be older than this call."""
    database = Database()
    loader = BatchLoader(database.load)
    first = asyncio.create_task(loader.get(2))
    await asyncio.to_thread(database.busy.wait, 10)
    rest = [asyncio.create_task(loader.get(key)) for key in (4, 5, 2, 4)]
    await asyncio.sleep(0)
    database.open.set()
    assert await asyncio.gather(first, *rest) == [4, 8, None, 4, 8]
    assert database.asked == [[2], [4, 5, 2]]


async def test_a_question_has_a_bound() -> None:
    database = Database()
    database.open.set()
    loader = BatchLoader(database.load)
    await asyncio.gather(*(loader.get(key) for key in range(MOST + 1)))
    assert sorted(map(len, database.asked)) == [1, MOST]


async def test_an_error_reaches_all_who_asked_and_nobody_after_them() -> None:
    failing = True

    def load(keys: Collection[int]) -> dict[int, int]:
        if failing:
            raise OSError("away")
        return dict.fromkeys(keys, 1)

    loader = BatchLoader(load)
    asked = [asyncio.create_task(loader.get(key)) for key in (1, 2)]
    for task in asked:
        with pytest.raises(OSError, match="away"):
            await task
    failing = False
    assert await loader.get(1) == 1


async def test_who_is_cancelled_takes_nobody_along() -> None:
    database = Database()
    loader = BatchLoader(database.load)
    one, other = asyncio.create_task(loader.get(2)), asyncio.create_task(loader.get(2))
    await asyncio.to_thread(database.busy.wait, 10)
    one.cancel()
    database.open.set()
    assert await other == 4

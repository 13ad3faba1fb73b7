"""What may have changed is read again, and not as often as it changes."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from messaging.refresher import Refresher


async def test_any_number_of_changes_makes_two_readings_the_second_behind_the_last_change():
    tasks: list[asyncio.Task[None]] = []
    value = 0
    seen: list[int] = []

    def spawn(work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        tasks.append(asyncio.create_task(work))
        return tasks[-1]

    async def read() -> None:
        found = value
        await asyncio.sleep(0.01)
        seen.append(found)

    refresher = Refresher(spawn)
    while value < 99:
        value += 1
        refresher.read("value", read)
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert len(seen) == 2 and seen[-1] == 99
    refresher.read("value", read)
    await asyncio.gather(*tasks)
    assert seen[2:] == [99]


async def test_what_fails_is_read_again_the_next_time():
    async def fail() -> None:
        raise OSError("The database is away.")

    tasks: list[asyncio.Task[None]] = []
    refresher = Refresher(lambda work: tasks.append(asyncio.create_task(work)) or tasks[-1])
    for _ in range(2):
        refresher.read("value", fail)
        await asyncio.wait(tasks)
    assert len(tasks) == 2
    assert all(isinstance(task.exception(), OSError) for task in tasks)

import asyncio

import pytest

from messaging.single_flight import SingleFlight


class Work:
    """A call that lasts until it is let go; `calls` counts how often it was begun."""

    def __init__(self, result: object = None) -> None:
        self.result = result
        self.calls = 0
        self.go = asyncio.Event()

    async def __call__(self) -> object:
        self.calls += 1
        await self.go.wait()
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


async def begin(flights: SingleFlight, work: Work, count: int, key: object = "key") -> list[asyncio.Task]:
    tasks = [asyncio.create_task(flights.do(key, work)) for _ in range(count)]
    await asyncio.wait(tasks, timeout=0)
    return tasks


async def test_those_who_want_the_same_share_one_call() -> None:
    flights, work = SingleFlight(), Work(result := object())
    tasks = await begin(flights, work, 100)
    work.go.set()
    assert all(got is result for got in await asyncio.gather(*tasks))
    assert work.calls == 1


async def test_other_keys_and_later_callers_get_calls_of_their_own() -> None:
    flights, work = SingleFlight(), Work()
    tasks = await begin(flights, work, 2, key=1) + await begin(flights, work, 2, key=2)
    work.go.set()
    await asyncio.gather(*tasks)
    await flights.do(1, work)
    assert work.calls == 3


async def test_a_caller_that_is_cancelled_ends_its_own_wait_only() -> None:
    flights, work = SingleFlight(), Work("result")
    first, second = await begin(flights, work, 2)
    first.cancel()
    await asyncio.wait([first])
    work.go.set()
    assert await second == "result"
    assert first.cancelled()


async def test_an_error_reaches_everybody() -> None:
    flights, work = SingleFlight(), Work(LookupError("gone"))
    tasks = await begin(flights, work, 2)
    work.go.set()
    for task in tasks:
        with pytest.raises(LookupError, match="gone"):
            await task

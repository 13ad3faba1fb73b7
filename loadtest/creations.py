"""Rooms that are created while all talk; whoever follows the room list must be shown each of them."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import count, islice, takewhile
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from loadtest.plan import Plan, Seat
from loadtest.world import World

PATIENCE = 10.0  # seconds for one answer
SETTLE = 3.0  # seconds before the end in which no room is created, since the last one must still be shown to everybody


def scheduled(plan: Plan) -> Iterator[int]:
    """The numbers of all rooms that are created during the run, by whichever worker."""
    numbers = count() if plan.creations else iter(())
    return takewhile(lambda number: plan.created_at(number) < plan.end - SETTLE, numbers)


class Creations:
    """Each worker makes its part of them, its users in turn, since a person may create only so many a minute."""

    def __init__(self, world: World, seats: Sequence[Seat], *, worker: int, workers: int) -> None:
        self._world = world
        self._seats = seats
        self._numbers = islice(scheduled(world.plan), worker, None, workers)
        # Address of a room that was created here → the token of its owner.
        self._made: dict[str, str] = {}

    async def run(self) -> None:
        """Create by the schedule until shortly before it ends."""
        plan = self._world.plan
        async with asyncio.TaskGroup() as group:
            for number in self._numbers:
                await asyncio.sleep(plan.created_at(number) - self._world.now())
                group.create_task(self._create(number))

    async def close(self) -> None:
        """Delete what was created."""
        for address, token in self._made.items():
            with suppress(OSError):
                await asyncio.to_thread(_call, "DELETE", address, token, None)

    async def _create(self, number: int) -> None:
        seat, outcome = self._seats[number % len(self._seats)], self._world.outcome
        address = self._world.urls[number % len(self._world.urls)].rstrip("/") + "/api/v1/rooms"
        body = {"name": self._world.plan.created_name(number), "kind": "public"}
        try:
            room = await asyncio.to_thread(_call, "POST", address, seat.token, body)
        except HTTPError as error:
            outcome.errors[f"a room was not created: {error.code}"] += 1
        except OSError as error:
            outcome.errors[f"a room was not created: {error}"] += 1
        else:
            outcome.created.add(number)
            self._made[f"{address}/{json.loads(room)['id']}"] = seat.token


def _call(method: str, address: str, token: str, body: dict[str, str] | None) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = Request(address, method=method, data=data, headers=headers)  # noqa: S310 (a base URL is http)
    with urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310 (as above)
        return bytes(answer.read())

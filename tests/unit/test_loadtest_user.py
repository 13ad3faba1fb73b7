"""A virtual user on a connection that the test speaks for the server on."""

import asyncio
import errno
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import pytest

from loadtest import Outcome, Plan, Seat
from loadtest.frames import FrameReader
from loadtest.plan import Role
from loadtest.roomlog import RoomLog
from loadtest.schedule import Schedule
from loadtest.user import VirtualUser
from loadtest.wire import LOST
from loadtest.worker import Share, Worker
from loadtest.world import World

PLAN = Plan(users=1, rooms=1, seconds=100, ramp=0, rate=1, length=40, run="r1")
WELCOME = {"type": "welcome", "user": "load1", "session": "s", "ping_interval": 20}
SUBSCRIBED = {"type": "subscribed", "id": "room", "room": 7, "cursor": "1-0-3", "recovered": True}
UNAVAILABLE = {"type": "error", "id": "room", "code": "unavailable", "detail": "Later.", "retry_after": 0.01}


class Line:
    """Stands in the place of `loadtest.wire`: one connection after the other."""

    def __init__(self) -> None:
        self.connections = 0
        self.sent: list[dict[str, Any]] = []
        self._on_text: Callable[[bytes], None]
        self._on_end: Callable[[int], None]

    async def connect(self, url: str, token: str) -> "Line":
        self.connections += 1
        return self

    def listen(self, on_text: Callable[[bytes], None], on_end: Callable[[int], None]) -> None:
        self._on_text, self._on_end = on_text, on_end

    def send(self, text: bytes) -> None:
        self.sent.append(json.loads(text))

    def close(self) -> None:
        self._on_end(1000)

    def abort(self) -> None:
        self._on_end(LOST)

    def say(self, *frames: dict[str, Any]) -> None:
        """As the server."""
        for frame in frames:
            self._on_text(json.dumps(frame).encode())

    async def reach(self, connections: int) -> None:
        async with asyncio.timeout(10):
            while self.connections < connections:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await asyncio.sleep(0)


@asynccontextmanager
async def living(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[VirtualUser, Line, Outcome]]:
    line, outcome = Line(), Outcome()
    monkeypatch.setattr("loadtest.user.connect", line.connect)
    monkeypatch.setattr("loadtest.user.PAUSE", 0.01)
    log = RoomLog(PLAN, 0, {0: "load1"})
    world = World(PLAN, ["-"], monotonic(), {0: log}, FrameReader({7: log}), Schedule(PLAN, [], print), outcome)
    user = VirtualUser(world, Seat(0, "load1", "-", 7), Role.TALKER)
    life = asyncio.create_task(user.live())
    try:
        await line.reach(1)
        yield user, line, outcome
    finally:
        life.cancel()
        await asyncio.wait([life])


def subscriptions(line: Line) -> int:
    return sum(frame["type"] == "subscribe" for frame in line.sent)


async def test_a_refused_subscription_is_tried_again(monkeypatch: pytest.MonkeyPatch):
    async with living(monkeypatch) as (user, line, _):
        line.say(WELCOME, UNAVAILABLE)
        async with asyncio.timeout(10):
            while subscriptions(line) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        line.say(SUBSCRIBED)
        assert user.is_live


async def test_a_new_connection_is_not_subscribed_twice_for_a_refusal_on_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
):
    """The server would show everything behind the cursor again, and be blamed for it."""
    async with living(monkeypatch) as (user, line, _):
        line.say(WELCOME, UNAVAILABLE)
        line.abort()
        await line.reach(2)
        line.say(WELCOME)
        before = subscriptions(line)
        await asyncio.sleep(0.05)  # longer than the pause
        assert subscriptions(line) == before
        assert not user.is_live


async def test_who_was_cut_before_its_first_subscription_is_back_with_it(monkeypatch: pytest.MonkeyPatch):
    async with living(monkeypatch) as (user, line, outcome):
        line.say(WELCOME)
        user.cut()
        await line.reach(2)
        line.say(WELCOME, SUBSCRIBED)
        assert (outcome.cut, outcome.returning.count, outcome.joined) == (1, 1, 1)


async def test_who_was_cut_is_waited_for_until_it_is_back(monkeypatch: pytest.MonkeyPatch):
    async with living(monkeypatch) as (user, line, _):
        line.say(WELCOME, SUBSCRIBED)
        assert user.is_done
        user.cut()
        await line.reach(2)
        assert not user.is_done
        line.say(WELCOME, SUBSCRIBED)
        assert user.is_done


@pytest.mark.parametrize(
    "frame",
    [
        {**SUBSCRIBED, "cursor": "over there"},
        {"type": "ping"},
        {"type": "welcome", "ping_interval": None},
        {"type": "removed", "room": 7},
        {"type": "error", "id": None},
    ],
)
async def test_a_frame_without_what_belongs_to_it_is_an_error(monkeypatch: pytest.MonkeyPatch, frame: dict[str, Any]):
    """And does not end the connection, after which all would be said again and found well."""
    async with living(monkeypatch) as (_, line, outcome):
        line.say(WELCOME, frame)
        assert outcome.errors.total() == 1
        assert line.connections == 1


async def test_a_mistake_of_the_generator_ends_its_worker():
    """Also where it is made while a frame is read, where an event loop only logs it."""

    def make_a_mistake(_: object) -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)

    worker = Worker(Share(PLAN, ["http://127.0.0.1:1"], [], {}, 0, 1), monotonic(), make_a_mistake)
    with pytest.raises(ExceptionGroup) as failure:
        async with asyncio.timeout(20):
            await worker.run()
    assert failure.group_contains(ZeroDivisionError)


async def test_a_machine_without_a_socket_for_a_user_is_no_fault_of_the_server(monkeypatch: pytest.MonkeyPatch):
    async def connect(url: str, token: str) -> Line:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("loadtest.user.connect", connect)
    world = World(
        PLAN, ["-"], monotonic(), {0: RoomLog(PLAN, 0, {})}, FrameReader({}), Schedule(PLAN, [], print), Outcome()
    )
    with pytest.raises(RuntimeError, match="ulimit"):
        await VirtualUser(world, Seat(0, "load1", "-", 7), Role.TALKER).live()

"""Attendance when what it stands on does not go on as usual."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import orjson
import pytest
from django.conf import settings

from kafka_layer import NotProduced
from messaging import attendance as attendance_module
from messaging.attendance import Attendance
from messaging.protocol import Text
from rooms.presence import Presence

rooms = count(20_000_000)


@pytest.fixture(autouse=True)
def calm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody has been here for a while."""
    monkeypatch.setattr(attendance_module, "CALM", 0.0)


class DeafLayer:
    """A channel layer whose Kafka takes nothing."""

    def __init__(self) -> None:
        self.refused: list[str] = []

    async def group_send(self, group: str, frame: dict[str, Any]) -> None:
        self.refused.append(frame["type"])
        raise NotProduced("Kafka is away.")


@pytest.fixture
async def presence() -> AsyncIterator[Presence]:
    async with Presence(settings.REDIS_URL, **settings.REDIS_OPTIONS) as presence:
        yield presence


@asynccontextmanager
async def kept(attendance: Attendance) -> AsyncIterator[None]:
    """Its background task runs."""
    keeping = asyncio.ensure_future(attendance.keep())
    try:
        yield
        assert not keeping.done()
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])


def enter(attendance: Attendance, room: int, user: str, session: str = "1", *, announce: bool = True) -> list[Text]:
    """The list gets the `presence` frames that the socket is shown."""
    shown: list[Text] = []
    attendance.enter(room, user, session, announce=announce, show=shown.append)
    return shown


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 (what changes are lists)
            await asyncio.sleep(0.01)


async def test_what_cannot_be_announced_ends_nothing(presence: Presence, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entering, leaving and the sweep go on without Kafka."""
    monkeypatch.setattr(attendance_module, "SWEEP_INTERVAL", 0.01)
    monkeypatch.setattr(attendance_module, "LOST_AFTER", 0.0)
    layer, room = DeafLayer(), next(rooms)
    attendance = Attendance(layer, presence)
    async with kept(attendance):
        for user in ["ada", "bob", "eve"]:
            enter(attendance, room, user)
        attendance.leave(room, "ada", "1")
        attendance.lose(room, "bob", "1")
        await until(lambda: layer.refused == ["joined", "joined", "joined", "left", "left"])
        attendance.leave(room, "eve", "1")
        await attendance.flush()


async def test_who_enters_is_shown_who_is_there(presence: Presence) -> None:
    """All who enter together see the same people."""
    attendance, room = Attendance(DeafLayer(), presence), next(rooms)
    async with kept(attendance):
        ada, bob = enter(attendance, room, "ada"), enter(attendance, room, "bob")
        await attendance.flush()
        expected = {"type": "presence", "room": room, "count": 2, "users": ["ada", "bob"]}
        assert [orjson.loads(shown[0].text) for shown in (ada, bob)] == [expected, expected]
        for user in ("ada", "bob"):
            attendance.leave(room, user, "1")
        await attendance.flush()


async def test_who_is_not_announced_by_name_is_counted_in_a_presence_frame(presence: Presence) -> None:
    """A new member has made a notice, which does not say that the person is here."""
    layer, room = DeafLayer(), next(rooms)
    attendance = Attendance(layer, presence)
    async with kept(attendance):
        enter(attendance, room, "ada", announce=False)
        await until(lambda: layer.refused == ["presence"])
        attendance.leave(room, "ada", "1")
        await attendance.flush()


async def test_a_crowd_comes_and_goes_by_its_number(presence: Presence) -> None:
    """And by name again as soon as it is none, and its names were told."""
    layer, room = DeafLayer(), next(rooms)
    attendance = Attendance(layer, presence)
    async with kept(attendance):
        shown = [enter(attendance, room, f"p{number}") for number in range(101)]
        await until(lambda: layer.refused == ["presence"])
        assert orjson.loads(shown[0][0].text) == {"type": "presence", "room": room, "count": 101}
        attendance.leave(room, "p0", "1")
        await until(lambda: layer.refused == ["presence"] * 2 and not attendance._tell)
        attendance.leave(room, "p1", "1")
        await until(lambda: layer.refused == ["presence", "presence", "left"])
        for number in range(2, 101):
            attendance.leave(room, f"p{number}", "1")
        await attendance.flush()


async def test_who_enters_and_leaves_again_and_again_is_announced_once(
    presence: Presence, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line is read by all; one person could fill everybody's page."""
    monkeypatch.setattr(attendance_module, "CALM", 60.0)
    layer, room = DeafLayer(), next(rooms)
    attendance = Attendance(layer, presence)
    async with kept(attendance):
        enter(attendance, room, "bob")
        for _ in range(5):
            enter(attendance, room, "ada")
            await attendance.flush()
            attendance.leave(room, "ada", "1")
            await attendance.flush()
        assert layer.refused == ["joined", "joined"]


async def test_a_socket_that_has_left_is_renewed_no_more(presence: Presence) -> None:
    """Whatever happens to its leaving, its leases end by themselves."""
    attendance, room = Attendance(DeafLayer(), presence), next(rooms)
    enter(attendance, room, "ada")
    attendance.lose(room, "ada", "1")
    assert not attendance._here


async def test_steps_reach_redis_in_their_order(presence: Presence) -> None:
    """Whoever has left is gone, also when it was at once."""
    attendance, room = Attendance(DeafLayer(), presence), next(rooms)
    async with kept(attendance):
        for _ in range(20):
            enter(attendance, room, "ada")
            attendance.leave(room, "ada", "1")
        await attendance.flush()
        assert await presence.people(room) == (0, [])


async def test_the_background_task_ends_when_it_is_cancelled(
    presence: Presence, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At whatever moment of its talk with Redis, or a server that stops would hang."""
    monkeypatch.setattr(attendance_module, "SWEEP_INTERVAL", 0.0)
    monkeypatch.setattr(attendance_module, "GATHER_INTERVAL", 0.0)
    attendance, room = Attendance(DeafLayer(), presence), next(rooms)
    enter(attendance, room, "ada")
    for n in range(50):
        keeping = asyncio.ensure_future(attendance.keep())
        await asyncio.wait([keeping], timeout=n / 5000)
        keeping.cancel()
        assert (await asyncio.wait([keeping], timeout=5))[0]
    async with kept(attendance):
        attendance.leave(room, "ada", "1")
        await attendance.flush()

"""Attendance when what it stands on does not go on as usual."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import pytest
from django.conf import settings

from kafka_layer import NotProduced
from messaging import attendance as attendance_module
from messaging.attendance import Attendance
from rooms.presence import Presence

rooms = count(20_000_000)


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


async def test_what_cannot_be_announced_ends_nothing(presence: Presence, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entering, leaving and the sweep go on without Kafka."""
    monkeypatch.setattr(attendance_module, "SWEEP_INTERVAL", 0.01)
    monkeypatch.setattr(attendance_module, "LOST_AFTER", 0.0)
    layer, room = DeafLayer(), next(rooms)
    attendance = Attendance(layer, presence)
    for session, user in enumerate(["ada", "bob", "eve"]):
        await attendance.enter(room, user, str(session), announce=True)
    await attendance.leave(room, "ada", "0")
    await attendance.lose(room, "bob", "1")
    keeping = asyncio.ensure_future(attendance.keep())
    async with asyncio.timeout(10):
        while layer.refused != ["joined", "joined", "joined", "left", "left"]:
            await asyncio.wait([keeping], timeout=0.01)
    assert not keeping.done()
    keeping.cancel()
    await attendance.leave(room, "eve", "2")


async def test_a_socket_that_is_forgotten_is_renewed_no_more(presence: Presence) -> None:
    """Whatever happens to its leaving, its leases end by themselves."""
    attendance, room = Attendance(DeafLayer(), presence), next(rooms)
    await attendance.enter(room, "ada", "1", announce=False)
    attendance.forget([room], "ada", "1")
    assert not attendance._here
    await attendance.leave(room, "ada", "1")


async def test_the_background_task_ends_when_it_is_cancelled(
    presence: Presence, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At whatever moment of its talk with Redis, or a server that stops would hang."""
    monkeypatch.setattr(attendance_module, "SWEEP_INTERVAL", 0.0)
    attendance, room = Attendance(DeafLayer(), presence), next(rooms)
    await attendance.enter(room, "ada", "1", announce=False)
    for n in range(50):
        keeping = asyncio.ensure_future(attendance.keep())
        await asyncio.wait([keeping], timeout=n / 5000)
        keeping.cancel()
        assert (await asyncio.wait([keeping], timeout=5))[0]
    await attendance.leave(room, "ada", "1")

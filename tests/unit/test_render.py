"""What the followers of the room list are shown."""

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import orjson
import pytest

from events.envelope import Envelope
from events.schemas import EventType
from kafka_layer import Batch
from messaging import render
from messaging.render import Renderer
from rooms.services import ROOM_LIST


@dataclass
class FakePosition:
    offset: int


@dataclass
class FakeRecord:
    position: FakePosition
    value: bytes


def state(offset: int, version: int, *, room: int = 7, type: EventType = EventType.ROOM_UPDATED) -> FakeRecord:
    """A state of a room at a place of the log; its name tells the version."""
    time = "2026-11-26T10:00:00.000Z"
    data = {"id": room, "name": f"v{version}", "kind": "public", "owner": "alice", "created": time}
    envelope = Envelope(id=str(uuid4()), type=type, subject=f"room/{room}", time=time, version=version, data=data)
    return FakeRecord(FakePosition(offset), envelope.encode())


def names(renderer: Renderer, *records: FakeRecord) -> list[str]:
    batch = Batch(ROOM_LIST, records, records[-1].position.offset)  # type: ignore[arg-type]
    text = renderer.room_list(batch).text
    frames: Any = [] if text is None else orjson.loads(text.text)
    return [frame["room"]["name"] for frame in (frames if isinstance(frames, list) else [frames])]


@pytest.fixture
def renderer() -> Renderer:
    return Renderer(log=None)  # type: ignore[arg-type]


def test_a_state_of_a_room_that_is_not_newer_than_one_before_it_is_shown_to_nobody(renderer: Renderer) -> None:
    """A poller or an event consumer that slept may tell it again, under whatever id; other rooms are not concerned."""
    assert names(renderer, state(1, 1), state(2, 3)) == ["v1", "v3"]
    assert names(renderer, state(3, 1), state(4, 3), state(5, 2, room=8), state(6, 4)) == ["v2", "v4"]


def test_a_deleted_room_does_not_come_back(renderer: Renderer) -> None:
    """By a name that was told late."""
    renderer.room_list(Batch(ROOM_LIST, (state(1, 2, type=EventType.ROOM_DELETED),), 1))  # type: ignore[arg-type]
    assert names(renderer, state(2, 1)) == []


def test_a_slow_follower_sees_what_the_others_saw(renderer: Renderer) -> None:
    """What was rendered before for others, and lies further on, drops nothing from a batch that begins earlier."""
    log = [state(1, 1), state(2, 3), state(3, 1), state(4, 4)]
    for record in log:
        names(renderer, record)
    assert names(renderer, *log)[-1] == "v4" and names(renderer, *log[:2]) == ["v1", "v3"]


def test_what_is_remembered_of_rooms_is_bounded(renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The room that was not heard of for longest is forgotten, and shown as it comes."""
    monkeypatch.setattr(render, "REMEMBERED_ROOMS", 2)
    names(renderer, state(1, 5, room=1), state(2, 5, room=2), state(3, 4, room=1), state(4, 5, room=3))
    assert names(renderer, state(5, 4, room=1), state(6, 4, room=3), state(7, 4, room=2)) == ["v4"]

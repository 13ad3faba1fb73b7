"""Edits and deletions on their way through a web process: frames, records, and what readers are shown."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from accounts.errors import ChatError, ErrorCode
from events.envelope import Envelope
from kafka_layer import Batch, Position, Record
from kafka_layer.codec import CODECS
from messaging import protocol
from messaging.cursor import Cursor
from messaging.frames import change_envelope, deletion_id
from messaging.protocol import ChangeFrame, Frame
from messaging.render import Renderer

ROOM = 7
MESSAGE = "0b4e7a0e-5f3e-4f0e-9a41-0d6f6a7d9a11"


def edit_frame(**changes: object) -> dict[str, Any]:
    return {"type": "edit", "id": "e1", "room": ROOM, "message": MESSAGE, "text": "new", **changes}


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"id": None}, ErrorCode.INVALID),
        ({"room": "7"}, ErrorCode.INVALID),
        ({"message": None}, ErrorCode.INVALID),
        ({"message": MESSAGE.upper()}, ErrorCode.INVALID),
        ({"text": None}, ErrorCode.INVALID),
        ({"text": " \n"}, ErrorCode.INVALID),
        ({"text": "a\0b"}, ErrorCode.INVALID),
        ({"text": "x" * 4001}, ErrorCode.TOO_LARGE),
    ],
)
def test_an_edit_is_checked_as_a_message_is(wrong: dict[str, object], code: ErrorCode):
    with pytest.raises(ChatError) as caught:
        protocol.parse_edit(edit_frame(**wrong))
    assert caught.value.code == code


def test_a_deletion_needs_no_text():
    frame = {"type": "delete", "id": "d1", "room": ROOM, "message": MESSAGE, "text": "ignored"}
    assert protocol.parse_delete(frame) == ChangeFrame("d1", ROOM, MESSAGE, None)


def record_id(change: ChangeFrame, *, by_id: int = 1) -> str:
    return change_envelope(change, by="alice", by_id=by_id)["id"]


def test_a_frame_with_a_uuid_can_be_repeated():
    """The same person, message and text under the same id are the same record; anything else is another."""
    change = ChangeFrame(str(uuid4()), ROOM, MESSAGE, "new")
    assert record_id(change) == record_id(change)
    others = [
        ChangeFrame(str(uuid4()), ROOM, MESSAGE, "new"),
        ChangeFrame(change.id, ROOM + 1, MESSAGE, "new"),
        ChangeFrame(change.id, ROOM, str(uuid4()), "new"),
        ChangeFrame(change.id, ROOM, MESSAGE, "newer"),
    ]
    ids = [*map(record_id, others), record_id(change), record_id(change, by_id=2)]
    assert len(set(ids)) == len(ids)


def test_a_frame_with_a_counter_as_its_id_is_an_edit_of_its_own():
    """The next socket counts from 1 again."""
    change = ChangeFrame("1", ROOM, MESSAGE, "new")
    assert record_id(change) != record_id(change)


def test_a_message_is_deleted_under_one_id_by_whomever():
    first, second = (ChangeFrame(id, ROOM, MESSAGE, None) for id in ("1", "2"))
    assert record_id(first, by_id=1) == record_id(second, by_id=2) == deletion_id(ROOM, MESSAGE)


@pytest.mark.parametrize("text", ["new", None])
def test_a_change_becomes_a_valid_record(text: str | None):
    made = change_envelope(ChangeFrame("1", ROOM, MESSAGE, text), by="alice", by_id=1)
    envelope = Envelope.decode(orjson.dumps(made))
    assert UUID(envelope.id)
    assert (envelope.data["message"], envelope.data["by_id"], envelope.data.get("text")) == (MESSAGE, 1, text)


def record(offset: int, value: bytes, id: str) -> Record:
    place = Position("chat.message.created", 0, offset)
    headers = [("id", id.encode())]
    return Record(place, f"room.{ROOM}", value, codec=CODECS["json"], headers=headers, timestamp_ms=0, arrived=0.0)


@dataclass
class FakeLog:
    """A log whose ring holds `records`."""

    records: list[Record] = field(default_factory=list)

    @property
    def layer(self) -> "FakeLog":
        return self

    def find(self, group: str, id: str) -> Record | None:
        return next((known for known in self.records if (known.group, known.id) == (group, id)), None)

    def cursor(self, position: Position) -> Cursor:
        return Cursor(1, 0, position.offset)

    def append(self, text: str | None) -> None:
        made = change_envelope(ChangeFrame("1", ROOM, MESSAGE, text), by="alice", by_id=1)
        self.records.append(record(len(self.records), orjson.dumps(made), made["id"]))

    def shown(self) -> list[tuple[str, str | None]]:
        return [(frame["type"], frame.get("text")) for frame in self.frames()]

    def frames(self) -> list[Frame]:
        text = Renderer(self).room(Batch(f"room.{ROOM}", tuple(self.records), 99))  # type: ignore[arg-type]
        frames = orjson.loads(text.text) if text is not None else []
        return frames if isinstance(frames, list) else [frames]


def test_edits_and_deletions_are_shown_with_their_place_and_their_author():
    log = FakeLog()
    log.append("new")
    (frame,) = log.frames()
    assert frame == {"type": "edited", "room": ROOM, "cursor": "1-0-0", "message": MESSAGE, "text": "new",
                     "by": "alice", "time": "1970-01-01T00:00:00.000Z"}  # fmt: skip


def test_an_edit_behind_the_deletion_of_its_message_is_shown_to_nobody():
    """Two processes may have produced them at the same time; storage refuses it too."""
    log = FakeLog()
    for text in ("one", None, "two"):
        log.append(text)
    assert log.shown() == [("edited", "one"), ("deleted", None)]

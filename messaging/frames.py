"""Translations: a checked message to the record of the log, and records and rows to the frames that people see."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from django.utils.crypto import salted_hmac

from events.envelope import SOURCE, Envelope, time_text
from events.schemas import EventType
from messaging import protocol
from messaging.cursor import Cursor
from messaging.history import Missed
from messaging.models import Message
from messaging.protocol import ChangeFrame, Frame, SendFrame

# What a notice may tell besides the room.
NOTICE_FIELDS = ("event", "user", "name", "by")


def time_of(timestamp_ms: int) -> datetime:
    """The moment of a broker's time stamp."""
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC)


def message_envelope(message: SendFrame, *, sender: str, sender_id: int) -> dict[str, Any]:
    """The record of a message. `time` is the server's; people are shown the broker's time stamp, which never
    contradicts the order."""
    return {
        "id": message.id,
        "type": EventType.MESSAGE_CREATED.value,
        "source": SOURCE,
        "subject": f"room/{message.room}",
        "time": time_text(datetime.now(UTC)),
        "data": {
            "room": message.room,
            "sender": sender,
            "sender_id": sender_id,
            "text": message.text,
            "reply_to": message.reply_to,
        },
    }


def change_envelope(change: ChangeFrame, *, by: str, by_id: int) -> dict[str, Any]:
    """The record of an edit or a deletion."""
    data = {"room": change.room, "message": change.message, "by": by, "by_id": by_id}
    if change.text is None:
        id, type = deletion_id(change.room, change.message), EventType.MESSAGE_DELETED
    else:
        id, type = edit_id(change, by_id), EventType.MESSAGE_EDITED
        data["text"] = change.text
    return {
        "id": id,
        "type": type.value,
        "source": SOURCE,
        "subject": f"room/{change.room}",
        "time": time_text(datetime.now(UTC)),
        "data": data,
    }


def deletion_id(room: int, message: str) -> str:
    """The id of the record that deletes a message: one for each message, so that deleting again is a repeat."""
    return _secret_id("deletion", room, message)


def edit_id(change: ChangeFrame, by_id: int) -> str:
    """The id of an edit's record. A frame whose id is a UUID can be repeated and stays the same edit; other ids may be
    in use again on the next socket, and each such frame is an edit of its own."""
    if not protocol.is_uuid(change.id):
        return str(uuid4())
    return _secret_id("edit", change.room, change.message, by_id, change.id, change.text)


def _secret_id(*parts: object) -> str:
    """Nobody outside can compute it: who could, would say something under it first, and readers would then drop the
    deletion as a repeat."""
    digest = salted_hmac("messaging.change", repr(parts), algorithm="sha256").digest()
    return str(UUID(bytes=digest[:16], version=5))


def frame_of_envelope(envelope: Envelope, *, room: int, cursor: Cursor, timestamp_ms: int) -> Frame | None:
    """The frame of a record of a room's log; None for one that is not shown."""
    data, time = envelope.data, time_text(time_of(timestamp_ms))
    if data.get("room") != room:
        return None
    match envelope.type:
        case EventType.MESSAGE_CREATED:
            return protocol.message(
                room=room,
                cursor=cursor,
                id=envelope.id,
                sender=data["sender"],
                text=data["text"],
                time=time,
                reply_to=data["reply_to"],
            )
        case EventType.MESSAGE_EDITED:
            return protocol.edited(
                room=room, cursor=cursor, message=data["message"], text=data["text"], by=data["by"], time=time
            )
        case EventType.MESSAGE_DELETED:
            return protocol.deleted(room=room, cursor=cursor, message=data["message"], by=data["by"], time=time)
        case EventType.NOTICE_CREATED:
            details = {field: data[field] for field in NOTICE_FIELDS}
            return protocol.notice(room=room, cursor=cursor, id=envelope.id, time=time, details=details)
    return None


def frame_of_row(row: Message) -> Frame:
    """The frame of a stored row: as the live one was, in its final state."""
    time = time_text(row.time)
    if row.kind == Message.Kind.NOTICE:
        details = row.notice or {}
        return protocol.notice(room=row.room_id, cursor=row.cursor, id=str(row.uid), time=time, details=details)
    frame = protocol.message(
        room=row.room_id,
        cursor=row.cursor,
        id=str(row.uid),
        sender=row.sender_name,
        text=row.text,
        time=time,
        reply_to=row.reply_to,
    )
    if row.deleted_at is not None:
        return protocol.deleted_message(frame, by=row.deleted_by, at=time_text(row.deleted_at))
    if row.edited_at is not None:
        return protocol.edited_message(frame, by=row.edited_by, at=time_text(row.edited_at))
    return frame


def frame_of_missed(missed: Missed) -> Frame:
    """The frame of what was missed: a changed message may show its later text, and its change follows all the same."""
    return frame_of_change(missed.row) if missed.is_change else frame_of_row(missed.row)


def frame_of_change(row: Message) -> Frame:
    """The frame of the last edit or deletion of a row that has one, at its place in the log."""
    room, cursor, message = row.room_id, row.changed, str(row.uid)
    if cursor is not None and row.deleted_at is not None:
        return protocol.deleted(
            room=room, cursor=cursor, message=message, by=row.deleted_by, time=time_text(row.deleted_at)
        )
    if cursor is not None and row.edited_at is not None:
        time = time_text(row.edited_at)
        return protocol.edited(room=room, cursor=cursor, message=message, text=row.text, by=row.edited_by, time=time)
    raise ValueError(f"{row} was neither edited nor deleted.")

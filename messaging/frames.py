"""Translations: a checked message to the record of the log, and records and rows to the frames that people see."""

from datetime import UTC, datetime
from typing import Any

from events.envelope import SOURCE, Envelope, time_text
from events.schemas import EventType
from messaging import protocol
from messaging.cursor import Cursor
from messaging.models import Message
from messaging.protocol import Frame, SendFrame

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
    return protocol.message(
        room=row.room_id,
        cursor=row.cursor,
        id=str(row.uid),
        sender=row.sender_name,
        text=row.text,
        time=time,
        reply_to=row.reply_to,
        edited=row.edited_at is not None,
    )

"""The wire protocol `chat.v1`: client frames are checked here, server frames and close codes are made here."""

import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import orjson

from accounts.errors import ChatError, ErrorCode
from messaging.cursor import Cursor
from messaging.flow import PING_INTERVAL

SUBPROTOCOL = "chat.v1"
MAX_FRAME_BYTES = 64 * 1024
MAX_TEXT_LENGTH = 4000  # Unicode code points

Frame = dict[str, Any]


class Text(NamedTuple):
    """The text of one WebSocket frame, and its size in bytes."""

    text: str
    size: int


# JavaScript writes UUIDs in lower case with dashes; one spelling only, so that an id is one string everywhere.
UUID_SHAPE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
# NUL cannot be stored by PostgreSQL, a lone surrogate cannot be encoded as UTF-8.
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class CloseCode(IntEnum):
    """Why the server closes a socket (protocol.md, "Close codes")."""

    SIGNED_OUT = 4001
    DEACTIVATED = 4003
    TOO_SLOW = 4008
    TOO_MANY = 4009
    NO_PONG = 4010
    RESTART = 4012


@dataclass(frozen=True, slots=True)
class SendFrame:
    """A checked `send`: `id` and `reply_to` as the client gave them."""

    id: str
    room: int
    text: str
    reply_to: str | None
    retry: bool


@dataclass(frozen=True, slots=True)
class ChangeFrame:
    """A checked `edit` or `delete` of a message; `text` None: it is to be deleted."""

    id: str
    room: int
    message: str
    text: str | None


def parse_frame(text: str | None) -> Frame:
    """Read one client frame: a JSON object with a string `type`. Raise `ChatError` `invalid` or `too_large`."""
    if text is None:
        raise ChatError(ErrorCode.INVALID, "Send text frames; binary ones are not understood.")
    # The length in characters bounds the length in bytes from below, so most frames need no encoding to be judged.
    if len(text) > MAX_FRAME_BYTES or len(data := text.encode("utf-8", "surrogatepass")) > MAX_FRAME_BYTES:
        raise ChatError(ErrorCode.TOO_LARGE, f"A frame has at most {MAX_FRAME_BYTES} bytes.")
    try:
        frame = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise ChatError(ErrorCode.INVALID, "The frame is not JSON.") from None
    if not isinstance(frame, dict):
        raise ChatError(ErrorCode.INVALID, "A frame is one JSON object.")
    return frame


def frame_id(frame: Frame) -> str | None:
    """The `id` that an answer repeats, or None where there is no valid one."""
    value = frame.get("id")
    return value if isinstance(value, str) and 1 <= len(value) <= 64 else None


def require_id(frame: Frame) -> str:
    """The `id` of a frame that needs one; raise `ChatError` `invalid` without it."""
    value = frame_id(frame)
    if value is None:
        raise ChatError(ErrorCode.INVALID, "The frame needs an id: a string of 1 to 64 characters.")
    return value


def require_room(frame: Frame) -> int:
    """The `room` of a frame; raise `ChatError` `invalid` unless it is a room's number."""
    room = frame.get("room")
    if isinstance(room, bool) or not isinstance(room, int) or not 0 < room < 2**63:
        raise ChatError(ErrorCode.INVALID, "The frame needs a room: its number as in the room list.")
    return room


def parse_read(frame: Mapping[str, object], *, partition: int) -> Cursor:
    """The cursor up to which somebody has read; raise `ChatError` `invalid`."""
    return Cursor.parse(frame.get("cursor"), partition=partition)


def parse_send(frame: Mapping[str, object], room: int) -> SendFrame:
    """Check a message before anything is produced; raise `ChatError` `invalid` or `too_large`."""
    reply_to = frame.get("reply_to")
    if reply_to is not None and not is_uuid(reply_to):
        raise ChatError(ErrorCode.INVALID, "reply_to is the id of a message, a UUID in lower case.")
    if not is_uuid(frame.get("id")):
        raise ChatError(ErrorCode.INVALID, "A message's id is a UUID in lower case with dashes.")
    return SendFrame(
        id=str(frame["id"]),
        room=room,
        text=_checked_text(frame.get("text")),
        reply_to=None if reply_to is None else str(reply_to),
        retry=frame.get("retry") is True,
    )


def parse_edit(frame: Frame) -> ChangeFrame:
    """Check an edit as a message is checked; raise `ChatError` `invalid` or `too_large`."""
    return _parse_change(frame, text=_checked_text(frame.get("text")))


def parse_delete(frame: Frame) -> ChangeFrame:
    """Raise `ChatError` `invalid`."""
    return _parse_change(frame, text=None)


def _parse_change(frame: Frame, *, text: str | None) -> ChangeFrame:
    id, room, message = require_id(frame), require_room(frame), frame.get("message")
    if not is_uuid(message):
        raise ChatError(ErrorCode.INVALID, "The frame needs a message: its id, a UUID in lower case with dashes.")
    return ChangeFrame(id=id, room=room, message=str(message), text=text)


def _checked_text(text: object) -> str:
    if not isinstance(text, str) or not text.strip():
        raise ChatError(ErrorCode.INVALID, "A message needs a text that is more than white space.")
    if len(text) > MAX_TEXT_LENGTH:
        raise ChatError(ErrorCode.TOO_LARGE, f"A message has at most {MAX_TEXT_LENGTH} characters.")
    if UNSTORABLE.search(text):
        raise ChatError(ErrorCode.INVALID, "A text has neither NUL characters nor lone surrogates.")
    return text


def is_uuid(value: object) -> bool:
    return isinstance(value, str) and UUID_SHAPE.fullmatch(value) is not None


def render(frame: Frame) -> Text:
    """One server frame on the wire."""
    encoded = orjson.dumps(frame)
    return Text(encoded.decode(), len(encoded))


def join(encoded: Iterable[bytes]) -> Text | None:
    """Objects of JSON as one server frame: an object, or an array of them in their order; None for none."""
    objects = list(encoded)
    if len(objects) == 1:
        return Text(objects[0].decode(), len(objects[0]))
    return _array(objects) if objects else None


def render_parts(frames: Iterable[Frame], *, size: int) -> Iterator[Text]:
    """Server frames of at most `size` bytes, or of one object that is larger."""
    part: list[bytes] = []
    length = 2  # the brackets
    for encoded in map(orjson.dumps, frames):
        if part and length + len(encoded) > size:
            yield _array(part)
            part, length = [], 2
        part.append(encoded)
        length += len(encoded) + 1
    if part:
        yield _array(part)


def _array(encoded: list[bytes]) -> Text:
    array = b"[%b]" % b",".join(encoded)
    return Text(array.decode(), len(array))


def welcome(user: str) -> Frame:
    return {"type": "welcome", "user": user, "session": str(uuid.uuid4()), "ping_interval": int(PING_INTERVAL)}


def subscribed(id: str, room: int, cursor: Cursor, *, recovered: bool) -> Frame:
    """`recovered`: the frames that follow have no gap since the cursor that the client came with."""
    return {"type": "subscribed", "id": id, "room": room, "cursor": str(cursor), "recovered": recovered}


def ack(id: str, room: int, cursor: Cursor, *, message: str) -> Frame:
    """`id` is the frame's; `message` is the one that was sent, edited or deleted."""
    return {"type": "ack", "id": id, "room": room, "cursor": str(cursor), "message": message}


def ping(id: str) -> Frame:
    return {"type": "ping", "id": id}


def reconnect(after: float) -> Frame:
    """The server is about to stop: come back after so many seconds."""
    return {"type": "reconnect", "after": round(after, 1)}


def error(id: str | None, problem: ChatError) -> Frame:
    frame: Frame = {"type": "error", "id": id, "code": problem.code.value, "detail": problem.detail}
    return frame if problem.retry_after is None else {**frame, "retry_after": problem.retry_after}


def message(*, room: int, cursor: Cursor, id: str, sender: str, text: str, time: str, reply_to: str | None) -> Frame:
    """A message as it was sent."""
    frame: Frame = {"type": "message", "room": room, "cursor": str(cursor), "id": id, "sender": sender, "text": text}
    frame["time"] = time
    if reply_to is not None:
        frame["reply_to"] = reply_to
    return frame


def edited_message(message: Frame, *, by: str, at: str) -> Frame:
    """A message that shows a later text than it was sent with."""
    return {**message, "edited": True, "edited_by": by, "edited_at": at}


def deleted_message(message: Frame, *, by: str, at: str) -> Frame:
    """A message whose text is gone."""
    kept = {key: value for key, value in message.items() if key != "text"}
    return {**kept, "deleted": True, "deleted_by": by, "deleted_at": at}


def edited(*, room: int, cursor: Cursor, message: str, text: str, by: str, time: str) -> Frame:
    return {"type": "edited", "room": room, "cursor": str(cursor), "message": message, "text": text, "by": by,
            "time": time}  # fmt: skip


def deleted(*, room: int, cursor: Cursor, message: str, by: str, time: str) -> Frame:
    return {"type": "deleted", "room": room, "cursor": str(cursor), "message": message, "by": by, "time": time}


def presence(room: int, count: int, users: Sequence[str] | None) -> Frame:
    """Who is in a room; `users` None: too many to be named."""
    frame: Frame = {"type": "presence", "room": room, "count": count}
    return frame if users is None else {**frame, "users": users}


def unread(room: int, count: int, last_message: Frame | None) -> Frame:
    """Without `last_message` where it is not known here: only the count has changed."""
    frame: Frame = {"type": "unread", "room": room, "count": count}
    return frame if last_message is None else {**frame, "last_message": last_message}


def notice(*, room: int, cursor: Cursor, id: str, time: str, details: Mapping[str, object]) -> Frame:
    """`details`: the event and what belongs to it (`user`, `name`, `by`)."""
    known = {key: value for key, value in details.items() if value is not None}
    return {"type": "notice", "room": room, "cursor": str(cursor), "id": id, **known, "time": time}

"""Batches of the layer as WebSocket frames. Each function here is called once for a batch; its result is shared by
all sockets that stand at the same place (`Batch.render`)."""

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import orjson

from events.envelope import Envelope, InvalidRecord
from events.schemas import EventType
from kafka_layer import Batch, Record
from messaging import protocol
from messaging.frames import deletion_id, frame_of_envelope
from messaging.history import Blocked
from messaging.log import RoomLog, room_of
from messaging.protocol import Frame, Text
from rooms.models import Room

logger = logging.getLogger(__name__)

# Whose newest state in the room list is known, 250 bytes each; the longest unheard-of are forgotten.
REMEMBERED_ROOMS = 10_000

# (room pk, frame)
PrivateNews = tuple[tuple[int, Frame], ...]


class Line(NamedTuple):
    """A frame of a room as JSON. `author` is who says something in it, or is about to, and may be blocked: None for
    frames that a block does not hide; `edits` is the message that it edits."""

    json: bytes
    author: str | None
    edits: str | None
    offset: int


class ListBatch(NamedTuple):
    """News of the room list: what every follower may see, and what a room's members alone may."""

    text: Text | None
    private: PrivateNews


class Renderer:
    """The renderings of one process; made once, since `Batch.render` shares by the function it is given.

    A record that storage would set aside is shown to nobody.
    """

    def __init__(self, log: RoomLog) -> None:
        self._log = log
        # Room pk → version and offset of its newest state in the room list, in the order of the latest mention.
        self._newest: dict[int, tuple[int, int]] = {}

    def room(self, batch: Batch) -> Text | None:
        """Messages, notices, edits and deletions of a room's log."""
        return protocol.join(line.json for line in batch.render(self.room_lines))

    def room_without(self, blocked: Blocked, batch: Batch) -> Text | None:
        """As `room`, for somebody who blocks people: shared too, unless one of them says something in the batch."""
        return _without(blocked, batch, self.room, self.room_lines)

    def ephemeral(self, batch: Batch) -> Text | None:
        """Ephemeral events travel as the frames they become."""
        return protocol.join(line.json for line in batch.render(self.ephemeral_lines))

    def ephemeral_without(self, blocked: Blocked, batch: Batch) -> Text | None:
        """As `ephemeral`, for somebody who blocks people."""
        return _without(blocked, batch, self.ephemeral, self.ephemeral_lines)

    def room_lines(self, batch: Batch) -> list[Line]:
        lines = [record.render(self._room_line) for record in batch.records]
        shown = [line for line in lines if line is not None]
        # Whether an edit comes too late may change while its line is remembered.
        return [line for line in shown if line.edits is None or not self._comes_too_late(batch.group, line)]

    def ephemeral_lines(self, batch: Batch) -> list[Line]:
        return [_line(dict(record.message), record) for record in batch.records]

    def _room_line(self, record: Record) -> Line | None:
        envelope = _read(record)
        if envelope is None:
            return None
        cursor = self._log.cursor(record.position)
        room = room_of(record.group)
        frame = frame_of_envelope(envelope, room=room, cursor=cursor, timestamp_ms=record.timestamp_ms)
        return None if frame is None else _line(frame, record)

    def _comes_too_late(self, group: str, line: Line) -> bool:
        """Whether it is an edit that another process produced before it had read of the message's deletion."""
        deletion = self._log.layer.find(group, deletion_id(room_of(group), line.edits or ""))
        return deletion is not None and deletion.position.offset < line.offset

    def room_list(self, batch: Batch) -> ListBatch:
        """`room_created`, `room_updated` and `room_deleted`."""
        public: list[Frame] = []
        private: list[tuple[int, Frame]] = []
        for record, envelope in read_envelopes(batch):
            frame = _list_frame(envelope)
            if frame is None or self._is_overtaken(record, envelope):
                continue
            if envelope.data["kind"] == Room.Kind.PUBLIC:
                public.append(frame)
            else:
                private.append((envelope.data["id"], frame))
        return ListBatch(protocol.join(map(orjson.dumps, public)), tuple(private))

    def _is_overtaken(self, record: Record, envelope: Envelope) -> bool:
        """Whether this state of a room, or a newer one, stands before it in the log. What stands behind it says
        nothing: a slow follower's batch is rendered after those of the others, and has what is newer as well."""
        room, version, place = envelope.data["id"], envelope.version or 0, record.position.offset
        newest, since = self._newest.pop(room, (-1, place))
        self._newest[room] = (newest, since) if newest >= version else (version, place)
        if len(self._newest) > REMEMBERED_ROOMS:
            del self._newest[next(iter(self._newest))]
        return newest >= version and since < place

    def access_changes(self, batch: Batch) -> list[Mapping[str, Any]]:
        """The data of the access changes of one person."""
        return [envelope.data for _, envelope in read_envelopes(batch) if envelope.type == EventType.ACCESS_CHANGED]


def read_envelopes(batch: Batch) -> Iterator[tuple[Record, Envelope]]:
    """What can be read of a batch."""
    for record in batch.records:
        if (envelope := _read(record)) is not None:
            yield record, envelope


def _read(record: Record) -> Envelope | None:
    try:
        return Envelope.decode(record.value)
    except InvalidRecord as error:
        logger.warning("A record of %s is not shown: %s", record.group, error)
        return None


def _list_frame(envelope: Envelope) -> Frame | None:
    match envelope.type:
        case EventType.ROOM_CREATED:
            return {"type": "room_created", "room": _known(envelope.data)}
        case EventType.ROOM_UPDATED:
            return {"type": "room_updated", "room": _known(envelope.data)}
        case EventType.ROOM_DELETED:
            return {"type": "room_deleted", "room": envelope.data["id"]}
    return None


def _line(frame: Frame, record: Record) -> Line:
    # A deletion takes away what is there, whoever makes it.
    author = frame.get({"message": "sender", "edited": "by", "typing": "user"}.get(frame["type"], ""))
    edits = frame["message"] if frame["type"] == "edited" else None
    # A copy: what orjson 3.13 returns lies in a block of 4 KB, however short it is, and lines live as long as records.
    json = bytes(memoryview(orjson.dumps(frame)))
    return Line(json, author, edits, record.position.offset)


def _without(
    blocked: Blocked,
    batch: Batch,
    whole: Callable[[Batch], Text | None],
    lines: Callable[[Batch], list[Line]],
) -> Text | None:
    left = [line.json for line in batch.render(lines) if line.author not in blocked]
    return batch.render(whole) if len(left) == len(batch.render(lines)) else protocol.join(left)


def _known(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if value is not None}

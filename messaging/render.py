"""Batches of the layer as WebSocket frames. Each function here is called once for a batch; its result is shared by
all sockets that stand at the same place (`Batch.render`)."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from events.schemas import EventType
from kafka_layer import Batch, Record
from messaging import protocol
from messaging.frames import frame_of_record
from messaging.log import RoomLog, room_of
from messaging.protocol import Frame
from rooms.models import Room


class ListBatch(NamedTuple):
    """News of the room list: what every follower may see, and frames with the room whose members alone may."""

    text: str | None
    private: tuple[tuple[int, Frame], ...]


class Renderer:
    """The renderings of one process; made once, since `Batch.render` shares by the function it is given."""

    def __init__(self, log: RoomLog) -> None:
        self._log = log

    def room(self, batch: Batch) -> str | None:
        """Messages and notices of a room's log."""
        room = room_of(batch.group)
        return _text([frame for record in batch.records if (frame := self._room_frame(room, record)) is not None])

    def _room_frame(self, room: int, record: Record) -> Frame | None:
        cursor = self._log.cursor(record.position)
        return frame_of_record(record.message, room=room, cursor=cursor, timestamp_ms=record.timestamp_ms)

    def ephemeral(self, batch: Batch) -> str | None:
        """Ephemeral events travel as the frames they become."""
        return _text([dict(record.message) for record in batch.records])

    def room_list(self, batch: Batch) -> ListBatch:
        """`room_created`, `room_updated` and `room_deleted`."""
        public: list[Frame] = []
        private: list[tuple[int, Frame]] = []
        for record in batch.records:
            data = record.message.get("data")
            if not isinstance(data, Mapping):
                continue
            frame = _list_frame(record.message.get("type"), data)
            if frame is None:
                continue
            if data.get("kind") == Room.Kind.PUBLIC:
                public.append(frame)
            else:
                private.append((int(data["id"]), frame))
        return ListBatch(_text(public), tuple(private))


def _list_frame(type: object, data: Mapping[str, Any]) -> Frame | None:
    match type:
        case EventType.ROOM_CREATED:
            return {"type": "room_created", "room": _new_room(data)}
        case EventType.ROOM_UPDATED:
            return {"type": "room_updated", "room": _new_room(data)}
        case EventType.ROOM_DELETED:
            return {"type": "room_deleted", "room": data["id"]}
    return None


def _new_room(data: Mapping[str, Any]) -> Frame:
    """A room as every follower sees it: without what is each person's own (role, unread)."""
    return {key: data[key] for key in ("id", "name", "kind", "owner", "created")}


def _text(frames: list[Frame]) -> str | None:
    if not frames:
        return None
    return protocol.render(frames[0] if len(frames) == 1 else frames)

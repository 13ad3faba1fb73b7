"""Batches of the layer as WebSocket frames. Each function here is called once for a batch; its result is shared by
all sockets that stand at the same place (`Batch.render`)."""

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

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

REMEMBERED_ROOMS = (
    10_000  # whose newest state in the room list is known, 250 bytes each; the longest unheard-of are forgotten
)

# (room pk, frame)
PrivateNews = tuple[tuple[int, Frame], ...]


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
        return _text(self.room_frames(batch))

    def room_without(self, blocked: Blocked, batch: Batch) -> Text | None:
        """As `room`, for somebody who blocks people: shared too, unless one of them says something in the batch."""
        return _without(blocked, batch, self.room, self.room_frames, self.room_authors)

    def ephemeral_without(self, blocked: Blocked, batch: Batch) -> Text | None:
        """As `ephemeral`, for somebody who blocks people."""
        return _without(blocked, batch, self.ephemeral, self.ephemeral_frames, self.ephemeral_authors)

    def room_authors(self, batch: Batch) -> frozenset[str]:
        return frozenset(filter(None, map(_author, batch.render(self.room_frames))))

    def ephemeral_authors(self, batch: Batch) -> frozenset[str]:
        return frozenset(filter(None, map(_author, batch.render(self.ephemeral_frames))))

    def room_frames(self, batch: Batch) -> list[Frame]:
        room = room_of(batch.group)
        frames = [
            frame_of_envelope(
                envelope, room=room, cursor=self._log.cursor(record.position), timestamp_ms=record.timestamp_ms
            )
            for record, envelope in read_envelopes(batch)
            if not self._comes_too_late(record, envelope)
        ]
        return [frame for frame in frames if frame is not None]

    def _comes_too_late(self, record: Record, envelope: Envelope) -> bool:
        """Whether it is an edit that another process produced before it had read of the message's deletion."""
        if envelope.type != EventType.MESSAGE_EDITED:
            return False
        deletion = self._log.layer.find(record.group, deletion_id(room_of(record.group), envelope.data["message"]))
        return deletion is not None and deletion.position.offset < record.position.offset

    def ephemeral(self, batch: Batch) -> Text | None:
        """Ephemeral events travel as the frames they become."""
        return _text(self.ephemeral_frames(batch))

    def ephemeral_frames(self, batch: Batch) -> list[Frame]:
        return [dict(record.message) for record in batch.records]

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
        return ListBatch(_text(public), tuple(private))

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
        try:
            yield record, Envelope.decode(record.value)
        except InvalidRecord as error:
            logger.warning("A record of %s is not shown: %s", batch.group, error)


def _list_frame(envelope: Envelope) -> Frame | None:
    match envelope.type:
        case EventType.ROOM_CREATED:
            return {"type": "room_created", "room": _known(envelope.data)}
        case EventType.ROOM_UPDATED:
            return {"type": "room_updated", "room": _known(envelope.data)}
        case EventType.ROOM_DELETED:
            return {"type": "room_deleted", "room": envelope.data["id"]}
    return None


def _author(frame: Frame) -> str | None:
    """Who says something, or is about to, in a frame that a block hides; None for frames that it does not hide. A
    deletion takes away what is there, whoever makes it."""
    author: str | None = frame.get({"message": "sender", "edited": "by", "typing": "user"}.get(frame["type"], ""))
    return author


def _without(
    blocked: Blocked,
    batch: Batch,
    whole: Callable[[Batch], Text | None],
    frames: Callable[[Batch], list[Frame]],
    authors: Callable[[Batch], frozenset[str]],
) -> Text | None:
    if blocked.isdisjoint(batch.render(authors)):
        return batch.render(whole)
    return _text([frame for frame in batch.render(frames) if _author(frame) not in blocked])


def _known(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if value is not None}


def _text(frames: list[Frame]) -> Text | None:
    if not frames:
        return None
    return protocol.render(frames[0] if len(frames) == 1 else frames)

"""The last message of each room, in Redis for the room list; filled by the event consumer, and it may be lost."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from django.db.models import OuterRef, Subquery
from redis.exceptions import RedisError

from accounts.cache import Entry, VersionedCache
from events.envelope import time_text
from messaging import protocol
from messaging.cursor import Cursor
from messaging.frames import frame_of_row
from messaging.models import Message
from messaging.protocol import Frame
from rooms.figures import last_message_key
from rooms.models import Room

if TYPE_CHECKING:
    from messaging.storage import Row

logger = logging.getLogger(__name__)

MAX_BEHIND = 10_000  # rooms that are remembered until Redis is back
REST = 5.0  # seconds without Redis after it has failed


class LastMessage(NamedTuple):
    """`version` grows in the order of the log: the place of what made the message as it is. `frame` None: unknown
    here."""

    version: int
    seq: int
    frame: Frame | None


def newest_messages(
    epoch: int, partition: int, rows: "Sequence[Row]", changed: Sequence[Message]
) -> dict[int, LastMessage]:
    """The last message of each room, after `rows` were stored and the `changed` last messages edited or deleted."""
    last = {row.room: row for row in rows if row.seq is not None}
    newest = {
        room: LastMessage(_version(epoch, row.offset), row.seq or 0, _frame(row, epoch, partition))
        for room, row in last.items()
    }
    return newest | {
        row.room_id: LastMessage(_version(*_place(row)), row.seq or 0, frame_of_row(row)) for row in changed
    }


class LastMessages:
    """Redis may be away: what is stored stays stored, and the next message of any room brings all entries up to
    date."""

    def __init__(self, cache: VersionedCache) -> None:
        self._cache = cache
        # Rooms whose entries could not be written: what stands there may have been deleted since.
        self._behind: set[int] = set()

    def write(self, newest: Mapping[int, LastMessage]) -> None:
        if not newest:
            return
        if self._cache.rests:
            self._note_behind(newest)
            return
        try:
            self._cache.write(Entry(last_message_key(room), new.version, new.frame) for room, new in newest.items())
            if self._behind:
                self.rebuild(list(self._behind))
                self._behind.clear()
        except RedisError as error:
            self._note_behind(newest)
            logger.warning("The last messages of %d rooms are not in Redis: %s", len(newest), error)

    def _note_behind(self, rooms: Iterable[int]) -> None:
        if len(self._behind) < MAX_BEHIND:
            self._behind.update(rooms)

    def rebuild(self, rooms: Sequence[int]) -> None:
        """Write the entries of these rooms anew from their rows. Raises `redis.RedisError`."""
        said = Message.objects.filter(room=OuterRef("pk"), kind=Message.Kind.MESSAGE).order_by("-epoch", "-offset")
        last = (
            Room.objects.filter(pk__in=rooms)
            .annotate(last=Subquery(said.values("pk")[:1]))
            .values_list("last", flat=True)
        )
        rows = Message.objects.in_bulk(last)
        self._cache.write(
            (Entry(last_message_key(row.room_id), _version(*_place(row)), frame_of_row(row)) for row in rows.values()),
            anew=True,
        )
        # Purged between reading and writing: the text must not live on here.
        purged = rows.keys() - set(Message.objects.filter(pk__in=rows).values_list("pk", flat=True))
        self.forget(rows[pk].room_id for pk in purged)

    def forget(self, rooms: Iterable[int]) -> None:
        """No message of these rooms is left. Raises `redis.RedisError`: what was purged must not live on here."""
        self._cache.forget(map(last_message_key, rooms))


def _place(row: Message) -> tuple[int, int]:
    """Epoch and offset of what made the row as it is."""
    place = row.changed or row.cursor
    return place.epoch, place.offset


def _version(epoch: int, offset: int) -> int:
    """Redis compares versions as doubles, which are exact up to 2**53."""
    return (epoch << 40) + offset


def _frame(row: "Row", epoch: int, partition: int) -> Frame:
    return protocol.message(
        room=row.room,
        cursor=Cursor(epoch, partition, row.offset),
        id=str(row.uid),
        sender=row.sender_name,
        text=row.text,
        time=time_text(row.time),
        reply_to=row.reply_to,
    )

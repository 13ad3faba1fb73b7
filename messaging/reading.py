"""Read marks: people say up to which cursor they have read, and a few statements a minute write it down."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress

from django.db import DatabaseError, InterfaceError, connection

from events.models import ConsumedOffset
from events.topics import Topic
from kafka_layer import LayerError
from messaging.activity import ACTIVITY, read_envelopes
from messaging.cursor import Cursor
from messaging.database import in_database
from messaging.log import RoomLog, group_of
from messaging.sending import wait_stored
from rooms.models import ReadMark
from rooms.services import mark_read

logger = logging.getLogger(__name__)

FLUSH_INTERVAL = 2.0  # seconds
REACH_DEADLINE = 1.0  # seconds that a cursor is waited for which nobody may have given out
MAX_WAITING = 100_000  # (person, room) that wait to be written

# (user pk, room pk)
Reader = tuple[int, int]

# The number of the newest message at or before each place. Before all that is left (what was before it was purged):
# the number in front of the oldest one. With none left at all: the room's last.
SEQS = """
    SELECT r.user_id, r.room_id, COALESCE(
        (SELECT m.seq FROM messaging_message m
         WHERE m.room_id = r.room_id AND (m.epoch, m."offset") <= (r.epoch, r.place) AND m.seq IS NOT NULL
         ORDER BY m.epoch DESC, m."offset" DESC LIMIT 1),
        (SELECT m.seq - 1 FROM messaging_message m
         WHERE m.room_id = r.room_id AND (m.epoch, m."offset") > (r.epoch, r.place) AND m.seq IS NOT NULL
         ORDER BY m.epoch, m."offset" LIMIT 1),
        room.last_seq
    )
    FROM unnest(%s::bigint[], %s::bigint[], %s::int[], %s::bigint[]) AS r(user_id, room_id, epoch, place)
    JOIN rooms_room room ON room.id = r.room_id
"""


class ReadMarks:
    """What was read on this process and is not written yet; belongs to one event loop. Nothing is lost while PostgreSQL
    is away, except by a process that is killed: then its people have not read what they read in the last 2 s."""

    def __init__(self, log: RoomLog) -> None:
        self._log = log
        # The newest cursor of each; whoever read last stands last.
        self._waiting: OrderedDict[Reader, Cursor] = OrderedDict()

    def note(self, user: int, room: int, cursor: Cursor) -> None:
        """A member has read up to `cursor`, a place within the log; an older one than before changes nothing."""
        key = user, room
        self._waiting[key] = max(cursor, self._waiting.get(key, cursor))
        self._waiting.move_to_end(key)
        if len(self._waiting) > MAX_WAITING:
            self._waiting.popitem(last=False)

    async def keep(self) -> None:
        """Write what was noted every 2 s, for ever."""
        while True:
            await asyncio.sleep(FLUSH_INTERVAL)
            await self.flush()

    async def flush(self) -> None:
        """Write what was noted, and tell the people's other sockets. What is not stored yet stays noted, and everything
        while PostgreSQL is away."""
        waiting, self._waiting = self._waiting, OrderedDict()
        if not waiting:
            return
        try:
            marks, stored = await in_database(_write)(waiting)
        except asyncio.CancelledError:
            # The process ends, and flushes once more.
            self._note_again(waiting)
            raise
        except (DatabaseError, InterfaceError) as error:
            logger.warning("%d read marks are written later: %s", len(waiting), error)
            self._note_again(waiting)
            return
        # What is stored of a log that was created anew is not what stands here.
        behind = {key: at for key, at in waiting.items() if at.offset >= stored.get(at.partition, 0)}
        self._note_again({key: at for key, at in behind.items() if at.epoch == self._log.epoch})
        await _tell(self._log, marks)

    def _note_again(self, waiting: Mapping[Reader, Cursor]) -> None:
        for key, cursor in waiting.items():
            self.note(*key, cursor)


async def mark_at_once(log: RoomLog, user: int, room: int, cursor: Cursor) -> None:
    """Write one mark, when what was read is stored. Raises `ChatError` `unknown` when storage does not get there in
    time."""
    cursor = await within_log(log, room, cursor)
    if cursor.epoch == log.epoch:
        await wait_stored(log, room=room, offset=cursor.offset)
    await _tell(log, await in_database(write_marks)({(user, room): cursor}))


async def _tell(log: RoomLog, marks: Sequence[ReadMark]) -> None:
    """Tell the people's other sockets, on any server. Ephemeral: who does not hear of it has a badge too many, until
    the room's next message."""
    for envelope in read_envelopes(marks):
        try:
            await log.layer.group_send(ACTIVITY, envelope.model_dump())
        except LayerError as error:
            logger.warning("%d moved read marks were not told: %s", len(marks), error)


async def within_log(log: RoomLog, room: int, cursor: Cursor) -> Cursor:
    """The cursor, or the log's end for one behind it, which would never be stored. This process may only be a moment
    behind who gave the cursor out."""
    end = log.layer.end(group_of(room))
    if cursor > log.cursor(end) and cursor.epoch == log.epoch:
        with suppress(TimeoutError):
            await asyncio.wait_for(log.layer.reach(end._replace(offset=cursor.offset)), REACH_DEADLINE)
    return min(cursor, log.cursor(log.layer.end(group_of(room))))


def write_marks(places: Mapping[Reader, Cursor]) -> list[ReadMark]:
    """Write up to where people have read, as far as it is stored; the marks that have moved."""
    columns = zip(*((user, room, at.epoch, at.offset) for (user, room), at in places.items()), strict=True)
    with connection.cursor() as cursor:
        cursor.execute(SEQS, [list(column) for column in columns])
        return mark_read([ReadMark(*row) for row in cursor.fetchall()])


def _write(places: Mapping[Reader, Cursor]) -> tuple[list[ReadMark], dict[int, int]]:
    """The moved marks, and the next offset to store of each partition as it was before."""
    rows = ConsumedOffset.objects.filter(topic=Topic.MESSAGE_CREATED)
    stored = dict(rows.values_list("partition", "next_offset"))
    return write_marks(places), stored

"""Storing a room's log: records of `chat.message.created` become rows, each once, with the offset in the same
transaction.

One statement writes a batch (`INSERT … SELECT FROM unnest(…)`); the offset row is the fence: two event consumers that
both believe in owning a partition cannot both move it, so one of them is rolled back (see `events.models`).
"""

import logging
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from django.db import connection, transaction
from prometheus_client import Counter

from events.consumer import ReceivedRecord
from events.envelope import Envelope, InvalidRecord
from events.models import OffsetConflict, advance_offset
from events.schemas import EventType
from messaging.changes import Change, apply_changes
from messaging.frames import NOTICE_FIELDS, time_of
from messaging.history import stored_offset
from messaging.log import require_newest, room_of
from messaging.models import Message
from messaging.protocol import UNSTORABLE
from messaging.words import index_words
from rooms.models import Room

logger = logging.getLogger(__name__)

STORED_TYPES = frozenset({EventType.MESSAGE_CREATED, EventType.NOTICE_CREATED})
CHANGE_TYPES = frozenset({EventType.MESSAGE_EDITED, EventType.MESSAGE_DELETED})

LOCK_ROOMS = "SELECT id, last_seq, kind FROM rooms_room WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE"
NEWEST_ROOM = "SELECT COALESCE(pg_sequence_last_value(pg_get_serial_sequence('rooms_room', 'id')::regclass), 0)"
STORED_ALREADY = """
    SELECT m.room_id, m.uid, m.sender_id, CASE WHEN m.changed_offset IS NULL THEN m.text END
    FROM unnest(%s::bigint[], %s::uuid[]) AS r(room_id, uid)
    JOIN messaging_message m ON m.room_id = r.room_id AND m.uid = r.uid
"""
INSERT = """
    INSERT INTO messaging_message
        (room_id, uid, kind, epoch, partition, "offset", seq, sender_id, sender_name, text, reply_to, notice, time,
         words)
    SELECT room_id, uid, kind, %s, %s, record_offset, seq, sender_id, sender_name, text, reply_to, notice, time,
        words::tsvector
    FROM unnest(
        %s::bigint[], %s::uuid[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[], %s::text[], %s::text[],
        %s::text[], %s::jsonb[], %s::timestamptz[], %s::text[]
    ) AS r(room_id, uid, kind, record_offset, seq, sender_id, sender_name, text, reply_to, notice, time, words)
"""
UPDATE_SEQ = """
    UPDATE rooms_room SET last_seq = r.seq
    FROM unnest(%s::bigint[], %s::bigint[]) AS r(id, seq) WHERE rooms_room.id = r.id
"""
# A message that was edited or deleted meanwhile has its words from that.
INDEX_WORDS = """
    UPDATE messaging_message m SET words = r.words::tsvector
    FROM unnest(%s::bigint[], %s::text[], %s::text[]) AS r(id, text, words)
    WHERE m.id = r.id AND m.text = r.text AND m.words IS NULL
"""


reused_total = Counter("chat_message_ids_reused_total", "Messages that were not stored, since others had their ids.")


@dataclass(slots=True)
class Row:
    """One row to be, in the order of the columns of INSERT."""

    room: int
    uid: UUID
    kind: str
    offset: int
    seq: int | None
    sender_id: int | None
    sender_name: str
    text: str
    reply_to: str | None
    notice: str | None
    time: datetime
    words: str | None

    def columns(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)


# Called with the epoch, the partition, the new rows in their order, and the messages that were edited or deleted and
# are the last ones of their rooms.
OnStored = Callable[[int, int, Sequence[Row], Sequence[Message]], None]


class MessageStorage:
    """The handler of `chat.message.created` for the event consumer (`events.consumer.TopicHandler`).

    `epoch` is the log's (`messaging.log.epoch_of`); `on_stored` is called after the commit, to refresh what may
    be lost.
    """

    def __init__(self, *, epoch: int, on_stored: OnStored) -> None:
        self.epoch = epoch
        self.on_stored = on_stored
        # partition → the offset that the database holds as far as this process knows; 0: nothing is stored yet.
        self._next: dict[int, int] = {}

    def start_offset(self, partition: int) -> int:
        """The offset to go on from; 0 when nothing of this partition was stored yet, whatever Kafka has on record for
        the group: that may be a place in a former log."""
        offset = self._next[partition] = stored_offset(partition) or 0
        return offset

    def store(self, records: Sequence[ReceivedRecord]) -> None:
        """Store records of one partition, in order, and move its offset, in one transaction.

        Raises `InvalidRecord` when a record cannot be stored (nothing is stored then), and `OffsetConflict` when
        somebody else has stored in the meantime.
        """
        parsed = [_parse(record) for record in records]
        rows = [item for item in parsed if isinstance(item, Row)]
        changes = [item for item in parsed if isinstance(item, Change)]
        partition = records[0].partition
        with transaction.atomic():
            self._advance(records[0], records[-1])
            last_seqs, public = _lock_rooms(sorted({item.room for item in parsed}))
            fresh = self._insert(partition, rows, last_seqs, public)
            # Each stands behind its message in the log, and so here.
            changed = apply_changes(changes, epoch=self.epoch) if changes else []
        self._next[partition] = records[-1].offset + 1
        last = [message for message in changed if message.seq == last_seqs[message.room_id]]
        self.on_stored(self.epoch, partition, fresh, last)

    def skip(self, record: ReceivedRecord) -> None:
        """Move the offset behind a record that was set aside."""
        self._advance(record, record)
        self._next[record.partition] = record.offset + 1

    def _advance(self, first: ReceivedRecord, last: ReceivedRecord) -> None:
        expected = self._next[last.partition]
        if first.offset < expected:
            # A log does not become shorter: it may have been created anew, and its records belong to no epoch yet.
            raise OffsetConflict(f"{last.topic}[{last.partition}] goes on at {first.offset} instead of {expected}.")
        if expected == 0:
            require_newest(self.epoch)
        advance_offset(last.topic, last.partition, expected=expected, new=last.offset + 1)

    def _insert(self, partition: int, rows: list[Row], last_seqs: dict[int, int], public: Set[int]) -> list[Row]:
        """Insert what is not there yet, and count it in `last_seqs`."""
        fresh = [row for row in _without_repeats(rows) if row.room in last_seqs]
        for row in fresh:
            if row.kind == Message.Kind.MESSAGE:
                row.seq = last_seqs[row.room] = last_seqs[row.room] + 1
                row.words = index_words(row.text, room=row.room, public=row.room in public)
        if fresh:
            columns: list[Any] = [list(column) for column in zip(*(row.columns() for row in fresh), strict=True)]
            with connection.cursor() as cursor:
                cursor.execute(INSERT, [self.epoch, partition, *columns])
                cursor.execute(UPDATE_SEQ, [list(last_seqs), list(last_seqs.values())])
        return fresh


def index_stored(*, batch: int = 1000) -> int:
    """Give the words to messages that have none yet; how many they were."""
    count, last = 0, 0
    waiting = Message.objects.filter(kind=Message.Kind.MESSAGE, words=None).order_by("pk")
    while rows := list(waiting.filter(pk__gt=last).select_related("room")[:batch]):
        last = rows[-1].pk
        words = [index_words(row.text, room=row.room_id, public=row.room.kind == Room.Kind.PUBLIC) for row in rows]
        columns: list[Any] = [[row.pk for row in rows], [row.text for row in rows], words]
        with connection.cursor() as cursor:
            cursor.execute(INDEX_WORDS, columns)
            count += cursor.rowcount
    return count


def _parse(record: ReceivedRecord) -> Row | Change:
    """What a record asks for. Raises `InvalidRecord`."""
    envelope = Envelope.decode(record.value)
    if envelope.type not in STORED_TYPES | CHANGE_TYPES:
        raise InvalidRecord(f"{envelope.type} does not belong on {record.topic}.")
    data = envelope.data
    try:
        uid, keyed_room = UUID(envelope.id), room_of(record.key or "")
    except ValueError as error:
        raise InvalidRecord(str(error)) from None
    if keyed_room != data["room"]:
        raise InvalidRecord(f"The key names room {keyed_room}, the data room {data['room']}.")
    time = time_of(record.timestamp_ms)
    if envelope.type in CHANGE_TYPES:
        return Change(
            keyed_room, envelope.id, record.offset, UUID(data["message"]), data.get("text"), data["by"], data["by_id"],
            time,
        )  # fmt: skip
    if envelope.type == EventType.NOTICE_CREATED:
        details = orjson.dumps({field: data.get(field) for field in NOTICE_FIELDS}).decode()
        return Row(keyed_room, uid, Message.Kind.NOTICE, record.offset, None, None, "", "", None, details, time, None)
    if UNSTORABLE.search(data["text"]):
        raise InvalidRecord("The text holds characters that PostgreSQL cannot store.")
    return Row(
        keyed_room, uid, Message.Kind.MESSAGE, record.offset, None, data["sender_id"], data["sender"], data["text"],
        data.get("reply_to"), None, time, None,
    )  # fmt: skip


def _lock_rooms(rooms: list[int]) -> tuple[dict[int, int], Set[int]]:
    """Lock the rooms' rows and return each one's last seq, and which of them are public; deleted rooms are left
    out, with all that was said in them. Raise `InvalidRecord` for a room that never existed."""
    with connection.cursor() as cursor:
        cursor.execute(LOCK_ROOMS, [rooms])
        found = cursor.fetchall()
    last_seqs = {room: seq for room, seq, _ in found}
    missing = [room for room in rooms if room not in last_seqs]
    if missing:
        _require_deleted(missing)
    return last_seqs, {room for room, _, kind in found if kind == Room.Kind.PUBLIC}


def _require_deleted(rooms: list[int]) -> None:
    """Raise `InvalidRecord` for a room whose id was never given out."""
    with connection.cursor() as cursor:
        cursor.execute(NEWEST_ROOM)
        (newest,) = cursor.fetchone()
    if max(rooms) > newest:
        raise InvalidRecord(f"Room {max(rooms)} does not exist.")
    logger.info("What was still said in the deleted rooms %s is not stored.", rooms)


def _without_repeats(rows: list[Row]) -> list[Row]:
    """Drop rows whose (room, id) is stored already or came earlier in the batch: the first record wins. A repeat that
    says something else is no resend: somebody re-uses an id, and what was seen live is in no history."""
    with connection.cursor() as cursor:
        cursor.execute(STORED_ALREADY, [[row.room for row in rows], [row.uid for row in rows]])
        # (room, id) → sender and text; no text where it was changed, since nobody knows any more what it was.
        seen = {(room, uid): (sender, text) for room, uid, sender, text in cursor.fetchall()}
    fresh, reused = [], []
    for row in rows:
        if (first := seen.get((row.room, row.uid))) is None:
            seen[row.room, row.uid] = row.sender_id, row.text
            fresh.append(row)
        elif first[0] != row.sender_id or first[1] not in {None, row.text}:
            reused.append(row)
    if reused:
        reused_total.inc(len(reused))
        logger.warning("%d messages have ids of others and are not stored, the first of them in room %d by %s.",
                       len(reused), reused[0].room, reused[0].sender_name)  # fmt: skip
    return fresh

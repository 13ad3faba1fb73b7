"""Edits and deletions as storage applies them: in the order of the log, in the transaction that stores it.

The web process has judged each before it was produced (`messaging.editing`). What is refused here was changed by a race
meanwhile, or produced by something else; it is counted and passed over, since a deletion or another edit has the last
word, and a dead letter would only keep a text that nobody may see.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from django.db import connection
from prometheus_client import Counter

from accounts.models import AccessChange
from messaging.database import GRACE
from messaging.models import Message
from messaging.words import index_words
from rooms.models import MODERATING, Membership, Room
from rooms.moderation_log import Action, record_action

logger = logging.getLogger(__name__)

# A repeat that was produced beside its first is known by these; one that comes later is found by the web process.
MAX_EDIT_IDS = 20
# A web process acts on rights for so long after they were taken away, at most; 10 s for clocks that differ.
LATE_RIGHTS = timedelta(seconds=GRACE + 10)

refused_total = Counter("chat_changes_refused_total", "Edits and deletions that storage refused.", ["reason"])

TARGETS = """
    SELECT m.* FROM unnest(%s::bigint[], %s::uuid[]) AS r(room_id, uid)
    JOIN messaging_message m ON m.room_id = r.room_id AND m.uid = r.uid
    WHERE m.kind = 'message'
"""
UPDATE = """
    UPDATE messaging_message m
    SET text = r.text, edited_at = r.edited_at, edited_by = r.edited_by, deleted_at = r.deleted_at,
        deleted_by = r.deleted_by, changed_epoch = r.changed_epoch, changed_offset = r.changed_offset,
        edit_ids = r.edit_ids, words = r.words::tsvector
    FROM unnest(
        %s::bigint[], %s::text[], %s::timestamptz[], %s::text[], %s::timestamptz[], %s::text[], %s::int[], %s::bigint[],
        %s::jsonb[], %s::text[]
    ) AS r(id, text, edited_at, edited_by, deleted_at, deleted_by, changed_epoch, changed_offset, edit_ids, words)
    WHERE m.id = r.id
"""


@dataclass(frozen=True, slots=True)
class Change:
    """An edit or a deletion (`text` None) of the message `target` by a person; `id` and `offset` are the record's."""

    room: int
    id: str
    offset: int
    target: UUID
    text: str | None
    by: str
    by_id: int
    time: datetime


class Refused(Exception):
    """The change is passed over; the text is the reason's label."""


def apply_changes(changes: Sequence[Change], *, epoch: int) -> list[Message]:
    """Apply changes of one partition, in order; the messages as they are now. Call it with the rooms' rows locked and
    what stands before the changes stored."""
    targets = _read_targets(changes)
    changed: dict[int, Message] = {}
    for change in changes:
        try:
            target = _judge(change, targets.get((change.room, change.target)), epoch)
        except Refused as refusal:
            refused_total.labels(str(refusal)).inc()
            logger.warning("The change of a message at %d-%d was refused: %s.", epoch, change.offset, refusal)
            continue
        if _apply(change, target, epoch):
            changed[target.pk] = target
            if change.by_id != target.sender_id:
                record_action(
                    Action.DELETE_MESSAGE, room=change.room, actor=change.by, subject=target.sender_name,
                    message=change.target,
                )  # fmt: skip
    if changed:
        _write(changed.values())
    return list(changed.values())


def _read_targets(changes: Sequence[Change]) -> dict[tuple[int, UUID], Message]:
    wanted = {(change.room, change.target) for change in changes}
    rows = Message.objects.raw(TARGETS, [[room for room, _ in wanted], [target for _, target in wanted]])
    return {(row.room_id, row.uid): row for row in rows}


def _judge(change: Change, target: Message | None, epoch: int) -> Message:
    """The message that the change is about. Raises `Refused`."""
    # A message that stands behind its change is one that the change's author could not know.
    if target is None or (target.epoch, target.offset) >= (epoch, change.offset):
        raise Refused("not_found")
    if change.by_id != target.sender_id and (change.text is not None or not _may_moderate(change)):
        raise Refused("forbidden")
    if target.deleted_at is not None and change.text is not None:
        raise Refused("deleted")
    return target


def _apply(change: Change, target: Message, epoch: int) -> bool:
    """Whether anything has changed: a repeat changes nothing."""
    if target.deleted_at is not None or change.id in (target.edit_ids or ()):
        return False
    if change.text is None:
        target.text, target.deleted_at, target.deleted_by, target.edit_ids = "", change.time, change.by, None
    else:
        target.text, target.edited_at, target.edited_by = change.text, change.time, change.by
        target.edit_ids = [*(target.edit_ids or ()), change.id][-MAX_EDIT_IDS:]
    target.changed_epoch, target.changed_offset = epoch, change.offset
    return True


def _may_moderate(change: Change) -> bool:
    """Whether the person may delete what others say, or may have when the change was made: its room has seen the
    deletion already, which must not come back because storage was late."""
    if Room.objects.filter(pk=change.room, kind=Room.Kind.DIRECT).exists():
        return False
    mine = Membership.objects.filter(room_id=change.room, user_id=change.by_id, role__in=MODERATING)
    return mine.exists() or _lost_rights_since(change.room, change.by_id, change.time - LATE_RIGHTS)


def _lost_rights_since(room: int, user: int, moment: datetime) -> bool:
    changes = AccessChange.objects.filter(user_id=user, room_id=room, created_at__gt=moment)
    return changes.exclude(reason="added").exists()


def _write(rows: Collection[Message]) -> None:
    rooms = Room.objects.filter(pk__in={row.room_id for row in rows}, kind=Room.Kind.PUBLIC)
    public = set(rooms.values_list("pk", flat=True))
    lines = [_columns(row, public=row.room_id in public) for row in rows]
    columns: list[tuple[Any, ...]] = list(zip(*lines, strict=True))
    with connection.cursor() as cursor:
        cursor.execute(UPDATE, [list(column) for column in columns])


def _columns(row: Message, *, public: bool) -> tuple[Any, ...]:
    """In the order of UPDATE."""
    return (
        row.pk, row.text, row.edited_at, row.edited_by, row.deleted_at, row.deleted_by, row.changed_epoch,
        row.changed_offset, None if row.edit_ids is None else orjson.dumps(row.edit_ids).decode(),
        index_words(row.text, room=row.room_id, public=public),
    )  # fmt: skip

"""Editing and deleting: judged by what is stored, then put into the room's log.

Readers show a record before storage has judged it, so that it is judged here first. Storage judges again
(`messaging.changes`), against what only happened meanwhile.
"""

import asyncio
from contextlib import suppress

from accounts.errors import ChatError, ErrorCode
from kafka_layer import LayerClosed
from messaging import history
from messaging.cursor import Cursor
from messaging.database import in_database
from messaging.frames import change_envelope, deletion_id
from messaging.log import RoomLog, group_of
from messaging.models import Message
from messaging.protocol import ChangeFrame
from messaging.sending import publish, wait_stored

# Another process may have read further than this one when its client saw the message.
ARRIVAL_DEADLINE = 1.0  # seconds


async def find_target(log: RoomLog, change: ChangeFrame) -> Message:
    """The stored message that is to be changed, once all that this process cannot find in its memory is stored.

    Only a row tells for certain who said something first: a record in memory may be a late repeat of the id by
    somebody else. Raises `ChatError` `not_found`, or `unavailable` while storage stands still.
    """
    group = group_of(change.room)
    row: Message | None = await in_database(history.find_message)(change.room, change.message)
    if row is None:
        await _wait_for_arrival(log, group, change.message)
        await _wait_stored(log, change.room, log.layer.end(group).offset)
    else:
        await _wait_stored(log, change.room, log.layer.oldest(group).offset - 1)
    row = await in_database(history.find_message)(change.room, change.message)
    if row is None or row.kind != Message.Kind.MESSAGE:
        raise ChatError(ErrorCode.NOT_FOUND, "There is no such message in this room.")
    return row


async def change_message(
    log: RoomLog, change: ChangeFrame, target: Message, *, user: int, username: str, moderates: bool
) -> Cursor:
    """Put an edit or a deletion of `target` into the room's log and return its cursor; for a repeat of what this
    process has read, that of the first one, and nothing is put there.

    Raises `ChatError`: `forbidden` (the author edits and deletes; who `moderates` deletes too), `not_found` for an edit
    of what is deleted, and what `publish` raises.
    """
    if target.sender_id != user and (change.text is not None or not moderates):
        raise ChatError(ErrorCode.FORBIDDEN, "This message is somebody else's.")
    envelope = change_envelope(change, by=username, by_id=user)
    deleted = _deleted_at(log, target)
    if deleted is not None and change.text is not None:
        raise ChatError(ErrorCode.NOT_FOUND, "The message is deleted.")
    first = deleted or _first_edit(log, target, envelope["id"])
    return first or await publish(log, change.room, envelope)


def _deleted_at(log: RoomLog, target: Message) -> Cursor | None:
    """Where a message was deleted; None: it was not, as far as this process has read."""
    if target.deleted_at is not None:
        return target.changed
    record = log.layer.find(group_of(target.room_id), deletion_id(target.room_id, str(target.uid)))
    return None if record is None else log.cursor(record.position)


def _first_edit(log: RoomLog, target: Message, id: str) -> Cursor | None:
    """Where an edit with this id stands, or a later one of the same message that is stored; None: there is none."""
    record = log.layer.find(group_of(target.room_id), id)
    if record is not None:
        return log.cursor(record.position)
    return target.changed if id in (target.edit_ids or ()) else None


async def _wait_for_arrival(log: RoomLog, group: str, id: str) -> None:
    """Wait for a moment until this process has read a record; it may not come."""
    with suppress(TimeoutError, LayerClosed):
        async with asyncio.timeout(ARRIVAL_DEADLINE):
            while log.layer.find(group, id) is None:
                end = log.layer.end(group)
                await log.layer.reach(end._replace(offset=end.offset + 1))


async def _wait_stored(log: RoomLog, room: int, offset: int) -> None:
    try:
        await wait_stored(log, room=room, offset=offset)
    except ChatError:
        raise ChatError(
            ErrorCode.UNAVAILABLE, "Messages are stored late; nothing was changed.", retry_after=5
        ) from None

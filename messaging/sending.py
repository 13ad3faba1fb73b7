"""Saying something: one path for the WebSocket and REST, from a checked message to its place in the log.

Whether the person may speak is checked by the caller (`messaging.access`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from accounts.errors import ChatError, ErrorCode
from kafka_layer import LayerClosed, NotProduced, PublishFailed
from messaging import history
from messaging.cursor import Cursor
from messaging.database import in_database
from messaging.frames import message_envelope
from messaging.log import RoomLog, group_of
from messaging.models import Message
from messaging.protocol import SendFrame

# How long to wait for storage to reach a place in the log.
STORED_DEADLINE = 6.0  # seconds
STORED_INTERVAL = 0.05  # seconds


async def send_message(
    log: RoomLog, message: SendFrame, *, user: int, username: str, may_speak: Callable[[], Awaitable[object]]
) -> Cursor:
    """Put a message into its room's log and return its cursor once all in-sync replicas have it.

    The record is produced before the first suspension unless `message.retry`, so calls that start in an order are
    published in that order. Raises `ChatError`: `unavailable` when nothing was produced; `unknown` when something may
    have been (send it again with `retry`); `conflict` when a retry's id belongs to another message.
    """
    if message.retry:
        first = await _first_cursor(log, message, user=user, through=log.layer.end(group_of(message.room)).offset)
        if first is not None:
            return first
        await may_speak()
    envelope = message_envelope(message, sender=username, sender_id=user)
    cursor = await publish(log, message.room, envelope)
    if message.retry:
        # Kafka may have taken the first one behind the look above; then that one stands.
        try:
            cursor = await _first_cursor(log, message, user=user, through=cursor.offset) or cursor
        except ChatError as problem:
            if problem.code != ErrorCode.UNKNOWN:
                raise
    return cursor


async def publish(log: RoomLog, room: int, envelope: Mapping[str, object]) -> Cursor:
    """Put a record into a room's log; the cursor and the errors are those of `send_message`."""
    try:
        position = await log.layer.publish(group_of(room), envelope, id=envelope["id"])
    except NotProduced as error:
        raise ChatError(ErrorCode.UNAVAILABLE, "Nothing was sent; send it again.", retry_after=1) from error
    except LayerClosed as error:
        raise ChatError(ErrorCode.UNAVAILABLE, "The server stops; send it again.", retry_after=1) from error
    except PublishFailed as error:
        raise ChatError(ErrorCode.UNKNOWN, "It may be stored; send it again, a message with retry.") from error
    return log.cursor(position)


async def _first_cursor(log: RoomLog, message: SendFrame, *, user: int, through: int) -> Cursor | None:
    """Where a message with this id already stands, or None: first in the ring, then in storage up to an offset."""
    record = log.layer.find(group_of(message.room), message.id)
    if record is not None:
        data: Mapping[str, object] = record.message.get("data", {})
        if (data.get("sender_id"), data.get("text")) == (user, message.text):
            return log.cursor(record.position)
        # It may be a late repeat of the id by somebody else: only a row tells for certain who said something first.
    await wait_stored(log, room=message.room, offset=through)
    row: Message | None = await in_database(history.find_message)(message.room, message.id)
    if row is None:
        return None
    # Nobody knows any more what the text of a changed one was.
    if row.sender_id != user or (row.changed is None and row.text != message.text):
        raise ChatError(ErrorCode.CONFLICT, f"The id {message.id} belongs to another message.")
    return row.cursor


async def wait_stored(log: RoomLog, *, room: int, offset: int) -> Cursor:
    """Wait until the partition of a room is stored up to and with `offset`; return the place up to which it is.

    Raises `ChatError` `unknown` when storage does not get there in time.
    """
    partition = log.partition(room)
    look = partial(in_database(history.stored_cursor), epoch=log.epoch, partition=partition)
    try:
        async with asyncio.timeout(STORED_DEADLINE):
            while True:
                stored: Cursor = await log.flights.do(("stored", partition), look)
                if stored.offset >= offset:
                    return stored
                await asyncio.sleep(STORED_INTERVAL)
    except TimeoutError:
        raise ChatError(ErrorCode.UNKNOWN, "The message may be stored; send it again with retry.") from None

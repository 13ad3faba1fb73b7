"""Entering a room's stream, also in the middle: the ring where it reaches back far enough, else rows, then the ring."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from accounts.errors import ChatError
from messaging import history, protocol
from messaging.cursor import Cursor
from messaging.database import in_database
from messaging.frames import frame_of_missed
from messaging.history import NOBODY, Blocked
from messaging.log import RoomLog, group_of
from messaging.protocol import Text
from messaging.sending import wait_stored

logger = logging.getLogger(__name__)

# Raises `ChatError` for a person who may not read the room (any more).
MayRead = Callable[[], Awaitable[object]]

# One WebSocket frame, at most: what flow control lets go over its window.
FRAME_BYTES = 256 * 1024
# More than this is not pushed at a socket; the client reads the history instead.
MAX_ROWS = 2000
MAX_BYTES = 8 * 1024 * 1024
# Another process may have read further than this one when it gave the cursor out.
REACH_DEADLINE = 3.0  # seconds


@dataclass(frozen=True, slots=True)
class Resumed:
    """`frames` come first, then the stream goes on behind `cursor`; `recovered`: without a gap since the given
    cursor."""

    cursor: Cursor
    frames: Sequence[Text]
    recovered: bool


class StoredGap(NamedTuple):
    """What was missed, up to and with `through`; rendered once for all who missed the same."""

    frames: Sequence[Text]
    through: Cursor


async def enter_stream(
    log: RoomLog, subscription: Any, room: int, after: Cursor | None, *, may_read: MayRead,
    blocked: Callable[[], Blocked] = lambda: NOBODY,
) -> Resumed:  # fmt: skip
    """Join a room's group on `subscription` from now on, or from behind `after`.

    Where the gap since `after` cannot be filled (another epoch, a log that ends before it, too many rows, storage that
    stands still) the member is live from now on and `recovered` is false: never a silent hole. Raises what `may_read`
    raises, which is asked again after the waiting: nothing of a gap is for who was removed meanwhile. What those said
    who are `blocked`, also since then, is left out.
    """
    if after is not None and after.epoch == log.epoch and await _is_reached(log, room, after):
        await may_read()
        live_from = await _join_behind(log, subscription, room, after)
        if live_from is not None:
            return Resumed(live_from, [], recovered=True)
        resumed = await _from_rows(log, subscription, room, after, may_read, blocked)
        if resumed is not None:
            return resumed
    # The waiting may have been long.
    await may_read()
    joined = await subscription.join(group_of(room))
    return Resumed(log.cursor(joined.live_from), [], recovered=after is None)


async def _is_reached(log: RoomLog, room: int, cursor: Cursor) -> bool:
    """Whether this process has read up to `cursor`, now or in a moment. A log that was cut off does not get there, and
    who waits behind its end would hear nothing."""
    position = log.layer.end(group_of(room))._replace(offset=cursor.offset)
    try:
        await asyncio.wait_for(log.layer.reach(position), REACH_DEADLINE)
    except TimeoutError:
        logger.warning("A resume asked for offset %d, and the log ends before it.", cursor.offset)
        return False
    return True


async def _join_behind(log: RoomLog, subscription: Any, room: int, cursor: Cursor) -> Cursor | None:
    """Join behind a cursor of this epoch; None, and no member, when the ring does not reach back that far."""
    group = group_of(room)
    joined = await subscription.join(group, after=log.layer.end(group)._replace(offset=cursor.offset))
    if joined.covered:
        return log.cursor(joined.live_from)
    # At once, before anything from the middle of the gap can be delivered.
    await subscription.leave(group)
    return None


async def _from_rows(
    log: RoomLog, subscription: Any, room: int, after: Cursor, may_read: MayRead, blocked: Callable[[], Blocked]
) -> Resumed | None:
    """Fill the gap from storage and join behind it."""
    # The ring may have moved on since others asked for the same rows, whose answer this one got, or somebody been
    # blocked; not twice, though.
    for _ in range(2):
        hidden = blocked()
        gap = await log.flights.do(("gap", room, after, hidden), partial(_read_gap, log, room, after, hidden))
        if gap is None:
            return None
        await may_read()
        if blocked() != hidden:
            continue
        live_from = await _join_behind(log, subscription, room, gap.through)
        if live_from is not None:
            return Resumed(live_from, gap.frames, recovered=True)
    return None


async def _read_gap(log: RoomLog, room: int, after: Cursor, blocked: Blocked) -> StoredGap | None:
    """Wait until storage has passed the ring's start, and read the rows. None when that cannot be had.

    What was stored meanwhile is left to the ring: rows and changes are read one after the other, and behind `stored`
    one could hold what the other does not.
    """
    oldest = log.layer.oldest(group_of(room))
    try:
        stored = await wait_stored(log, room=room, offset=oldest.offset - 1)
    except ChatError:
        logger.warning("A resume found storage standing still before offset %d.", oldest.offset)
        return None
    frames = await in_database(_render_missed)(room, after, stored, blocked)
    # Asked after the rows were read: what was purged until then may be missing among them.
    if frames is None or not await in_database(history.is_whole_behind)(after):
        return None
    return StoredGap(frames, stored)


def _render_missed(room: int, after: Cursor, stored: Cursor, blocked: Blocked) -> list[Text] | None:
    """Here and not on the event loop, since it may take a tenth of a second; None: it is too much."""
    missed = history.missed(room, after, stored, limit=MAX_ROWS, size=MAX_BYTES, blocked=blocked)
    if missed is None:
        return None
    frames: list[Text] = []
    size = 0
    for text in protocol.render_parts(map(frame_of_missed, missed), size=FRAME_BYTES):
        frames.append(text)
        size += text.size
        # JSON may write a character in more bytes than the database.
        if size > MAX_BYTES:
            return None
    return frames

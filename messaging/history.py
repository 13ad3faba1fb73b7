"""Reading stored messages: pages of history, and what a resumed socket missed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import NamedTuple

from django.db.models import Count, Func, IntegerField, Sum
from django.db.models.functions import Coalesce

from events.models import ConsumedOffset
from events.topics import Topic
from messaging.cursor import Cursor
from messaging.models import Message, PurgedPlace

MAX_PAGE = 200

# The ids of those whom the reader blocks: what they said is left out.
Blocked = frozenset[str]
NOBODY: Blocked = frozenset()


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of a room, oldest first. `before` and `after` name where to read on (None: nothing there); `stored` is set
    on a page that reaches the newest row: up to there the log has been stored."""

    rows: Sequence[Message]
    before: Cursor | None
    after: Cursor | None
    stored: Cursor | None


def newest_page(room: int, *, limit: int, stored: Cursor, blocked: Blocked = NOBODY) -> Page:
    """The newest rows of a room. `stored` must have been read before the rows, so that the page holds all up to it."""
    rows = list(Message.objects.in_room(room).not_from(blocked).order_by("-epoch", "-offset")[: limit + 1])
    return _page_downwards(rows, limit=limit, stored=stored)


def page_before(room: int, cursor: Cursor, *, limit: int, blocked: Blocked = NOBODY) -> Page:
    """The rows just before `cursor`, without its own."""
    rows = list(
        Message.objects.in_room(room).not_from(blocked).before(cursor).order_by("-epoch", "-offset")[: limit + 1]
    )
    return _page_downwards(rows, limit=limit, stored=None)


def page_after(room: int, cursor: Cursor, *, limit: int, stored: Cursor, blocked: Blocked = NOBODY) -> Page:
    """The rows just after `cursor`, without its own."""
    rows = list(Message.objects.in_room(room).not_from(blocked).after(cursor).order_by("epoch", "offset")[: limit + 1])
    return _page_upwards(rows, limit=limit, stored=stored)


def page_around(room: int, cursor: Cursor, *, limit: int, stored: Cursor, blocked: Blocked = NOBODY) -> Page:
    """About half of `limit` rows before `cursor`, and from its own row on the rest; one query."""
    if limit == 1:
        alone = page_after(room, cursor._replace(offset=cursor.offset - 1), limit=1, stored=stored, blocked=blocked)
        return replace(alone, before=cursor)
    half = limit // 2
    # The offset before this one: `after` then includes the row at `cursor`.
    behind = Message.objects.in_room(room).not_from(blocked).after(cursor._replace(offset=cursor.offset - 1))
    ahead = Message.objects.in_room(room).not_from(blocked).before(cursor)
    # Each half is cut off by itself, so that each reads its few rows from the index.
    both = ahead.order_by("-epoch", "-offset")[: half + 1].union(
        behind.order_by("epoch", "offset")[: limit - half + 1], all=True
    )
    rows = sorted(both, key=lambda row: row.cursor)
    split = sum(row.cursor < cursor for row in rows)
    older = _page_downwards(rows[:split][::-1], limit=half, stored=None)
    newer = _page_upwards(rows[split:], limit=limit - half, stored=stored)
    return Page([*older.rows, *newer.rows], before=older.before, after=newer.after, stored=newer.stored)


def _page_upwards(rows: list[Message], *, limit: int, stored: Cursor) -> Page:
    more, rows = len(rows) > limit, rows[:limit]
    return Page(
        rows,
        before=rows[0].cursor if rows else None,
        after=rows[-1].cursor if more else None,
        stored=None if more else stored,
    )


def _page_downwards(rows: list[Message], *, limit: int, stored: Cursor | None) -> Page:
    more, rows = len(rows) > limit, rows[:limit][::-1]
    return Page(
        rows,
        before=rows[0].cursor if more else None,
        after=rows[-1].cursor if rows and stored is None else None,
        stored=stored,
    )


def stored_cursor(*, epoch: int, partition: int) -> Cursor:
    """The place up to which the log of a partition is stored: the offset of the last record that was dealt with."""
    return Cursor(epoch, partition, (stored_offset(partition) or 0) - 1)


def stored_offset(partition: int) -> int | None:
    """The offset of the next record of the log to store, or None when nothing of the partition was stored yet."""
    offsets = ConsumedOffset.objects.filter(topic=Topic.MESSAGE_CREATED, partition=partition)
    return offsets.values_list("next_offset", flat=True).first()


class OctetLength(Func):
    function = "octet_length"
    output_field = IntegerField()


class Missed(NamedTuple):
    """A place in a room's log, and what is now of the row that was made or changed there."""

    cursor: Cursor
    row: Message
    is_change: bool


def missed(
    room: int, after: Cursor, through: Cursor, *, limit: int, size: int, blocked: Blocked = NOBODY
) -> list[Missed] | None:
    """What a room's log holds behind `after` up to `through`, which are of one epoch and stored: messages and notices,
    and edits and deletions, in their order. None: they are more than `limit`, or their texts have more than `size`
    bytes.

    Messages are in their final state, and of several changes of a message the last one is left. A message whose last
    change stands behind `through` has none here.
    """
    rows = Message.objects.in_room(room).not_from(blocked)
    made = rows.made_between(after, through).order_by("epoch", "offset")[: limit + 1]
    changed = rows.changed_between(after, through).order_by("changed_epoch", "changed_offset")[: limit + 1]
    # Before anything is read: what is too much must not be in memory even for a moment.
    sums = [part.aggregate(rows=Count("pk"), bytes=Coalesce(Sum(OctetLength("text")), 0)) for part in (made, changed)]
    if sum(each["rows"] for each in sums) > limit or sum(each["bytes"] for each in sums) > size:
        return None
    found = [Missed(row.cursor, row, is_change=False) for row in made]
    found += [Missed(row.changed, row, is_change=True) for row in changed if row.changed is not None]
    return sorted(found, key=attrgetter("cursor"))


def is_whole_behind(cursor: Cursor) -> bool:
    """Whether nothing behind `cursor` has been purged, in any room of its partition."""
    purged = PurgedPlace.objects.filter(partition=cursor.partition).values_list("epoch", "offset").first()
    return purged is None or purged <= (cursor.epoch, cursor.offset)


def find_message(room: int, uid: str) -> Message | None:
    return Message.objects.filter(room_id=room, uid=uid).first()

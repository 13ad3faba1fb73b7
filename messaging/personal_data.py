"""Everything that is stored about a person, as one JSON document that is written piece by piece."""

from array import array
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import orjson
from django.db.models import Q

from accounts.models import User
from events.envelope import time_text
from messaging.database import in_database
from messaging.frames import frame_of_row
from messaging.models import Message, Report
from rooms.models import Ban, Block, Membership, ModerationEntry, Room

PAGE = 500  # rows that are in memory at once

Page = list[dict[str, Any]]


def personal_data(user: User) -> Iterator[bytes]:
    """The document in pieces, each read when it is asked for: memory does not grow with what is stored. What changes
    meanwhile is told as it was or as it is."""
    yield b'{"account":' + orjson.dumps(_account(user))
    for name, section in SECTIONS.items():
        yield f',"{name}":['.encode()
        separator = b""
        for page in section(user):
            yield separator + b",".join(map(orjson.dumps, page))
            separator = b","
        yield b"]"
    yield b"}"


async def stream(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The pieces for a response: a plain iterator Django would read to its end before it sends anything."""
    while piece := await in_database(next)(pieces, b""):
        yield piece


def _account(user: User) -> dict[str, Any]:
    return {
        "id": user.username,
        "email": user.email or None,
        "created": time_text(user.created_at),
        "last_sign_in": time_text(user.last_login) if user.last_login else None,
        "active": user.is_active,
        "staff": user.is_staff,
    }


def _memberships(user: User) -> Iterator[Page]:
    """With the read marks: numbers of the last message before joining, and of the last one that was read."""
    mine = Membership.objects.filter(user=user).select_related("room")
    for rows in _pages(lambda last: list(mine.filter(pk__gt=last).order_by("pk")[:PAGE])):
        yield [
            {
                "room": row.room_id,
                "name": row.room.name,
                "kind": row.room.kind,
                "role": row.role,
                "joined": time_text(row.joined_at),
                "joined_seq": row.joined_seq,
                "read_seq": row.read_seq,
                "muted_until": time_text(row.muted_until) if row.muted_until else None,
            }
            for row in rows
        ]


def _messages(user: User) -> Iterator[Page]:
    """What the person wrote, as it is now: the frames of the protocol, which have room, cursor and time."""
    said = Message.objects.filter(sender=user.pk).order_by("pk").values_list("pk", flat=True)
    # Eight bytes for each; reading them page by page would sort them anew for each page.
    pks = array("q", said.iterator(chunk_size=2_000))
    for start in range(0, len(pks), PAGE):
        rows = Message.objects.filter(pk__in=pks[start : start + PAGE].tolist()).order_by("pk")
        yield [frame_of_row(row) for row in rows]


def _notices(user: User) -> Iterator[Page]:
    """What rooms were told of the person: joined, left, removed, renamed a room."""
    named = Message.objects.notices_naming(user.username)
    for rows in _pages(lambda last: list(named.filter(pk__gt=last).order_by("pk")[:PAGE])):
        yield [frame_of_row(row) for row in rows]


def _deletions(user: User) -> Iterator[Page]:
    """What of others' messages the person deleted."""
    deleted = Message.objects.deleted_by_name(user.username).exclude(sender=user.pk)
    for rows in _pages(lambda last: list(deleted.filter(pk__gt=last).order_by("pk")[:PAGE])):
        yield [
            {"room": row.room_id, "message": str(row.uid), "time": time_text(row.deleted_at)}
            for row in rows
            if row.deleted_at is not None
        ]


def _bans(user: User) -> Iterator[Page]:
    mine = Ban.objects.filter(user=user).select_related("room")
    for rows in _pages(lambda last: list(mine.filter(pk__gt=last).order_by("pk")[:PAGE])):
        yield [
            {
                "room": row.room_id,
                # Who is banned from a private room knows no more of it than strangers.
                "name": row.room.name if row.room.kind == Room.Kind.PUBLIC else None,
                "since": time_text(row.created_at),
                "until": time_text(row.until) if row.until else None,
                "reason": row.reason,
            }
            for row in rows
        ]


def _blocks(user: User) -> Iterator[Page]:
    """Whom the person blocks. Who blocks the person is the others' business."""
    mine = Block.objects.filter(user=user).select_related("blocked")
    for rows in _pages(lambda last: list(mine.filter(pk__gt=last).order_by("pk")[:PAGE])):
        yield [{"user": row.blocked.username, "since": time_text(row.created_at)} for row in rows]


def _reports(user: User) -> Iterator[Page]:
    """What the person reported; not who reported the person."""
    mine = Report.objects.filter(by=user).select_related("message")
    for rows in _pages(lambda last: list(mine.filter(pk__gt=last).order_by("pk")[:PAGE])):
        yield [
            {
                "room": row.message.room_id,
                "message": str(row.message.uid),
                "reason": row.reason,
                "time": time_text(row.created_at),
            }
            for row in rows
        ]


def _moderation(user: User) -> Iterator[Page]:
    """What the person did to others as somebody who leads rooms, and what was done to the person, but not by whom."""
    about = Q(actor=user.username) | Q(subject=user.username) & ~Q(action=ModerationEntry.Action.REPORT)
    entries = ModerationEntry.objects.filter(about)
    for rows in _pages(lambda last: list(entries.filter(pk__gt=last).order_by("pk")[:PAGE])):
        yield [
            {
                "action": row.action,
                "room": row.room,
                "by_me": row.actor == user.username,
                "user": row.subject or None,
                "message": str(row.message) if row.message else None,
                "detail": row.detail,
                "until": time_text(row.until) if row.until else None,
                "reason": row.reason,
                "time": time_text(row.created_at),
            }
            for row in rows
        ]


def _pages(read: Callable[[int], list[Any]]) -> Iterator[list[Any]]:
    """Pages of rows behind the pk of the last one, until there are none."""
    last = 0
    while rows := read(last):
        yield rows
        last = rows[-1].pk


# What stores something else about people adds its part here, and to `messaging.erasure` (and docs/personal-data.md).
SECTIONS: Mapping[str, Callable[[User], Iterator[Page]]] = {
    "memberships": _memberships,
    "messages": _messages,
    "notices": _notices,
    "deletions": _deletions,
    "bans": _bans,
    "blocks": _blocks,
    "reports": _reports,
    "moderation": _moderation,
}

"""REST: rooms and memberships."""

from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any

from django.conf import settings
from django.db.models import Count, Exists, F, IntegerField, OuterRef, Subquery
from django.db.models.functions import Coalesce, Greatest
from django.http import HttpRequest
from ninja import Query, Router, Schema, Status

from accounts.auth import authenticated, caller
from accounts.bodies import Body, Moment
from accounts.limits import require
from accounts.models import User
from events.envelope import time_text
from events.schemas import Text
from rooms import blocks, direct, moderation, services
from rooms.figures import RoomFigures
from rooms.models import Ban, Block, Membership, ModerationEntry, Room, RoomQuerySet
from rooms.paging import PlaceQuery, page_of
from rooms.rights import no_room, require_moderator, require_reader

router = Router(auth=authenticated, tags=["rooms"])


class RoomQuery(PlaceQuery):
    q: Text | None = None
    limit: int = 50


class NewRoom(Body):
    name: str
    kind: str = Room.Kind.PUBLIC


class RoomName(Body):
    name: str


class RoomOut(Schema):
    """A room as one person sees it. `role` null: no member; `online` null: not known at the moment.
    `last_message` null: none, or one that I may not or do not want to read."""

    id: int
    name: str
    kind: str
    owner: str
    role: str | None
    members: int
    online: int | None
    unread: int
    last_message: dict[str, Any] | None
    created: str


class RoomPage(Schema):
    items: list[RoomOut]
    next: str | None


class DirectWith(Body):
    user: str


class MemberChange(Body):
    """`muted_until`: null ends a mute, and left out nothing changes."""

    role: Text | None = None
    muted_until: Moment | None = None


class MemberOut(Schema):
    user: str
    role: str
    joined: str
    muted_until: str | None


class MemberPage(Schema):
    items: list[MemberOut]
    next: str | None


class NewBan(Body):
    """`until` null: for ever."""

    until: Moment | None = None
    reason: Text = ""


class BanOut(Schema):
    user: str
    by: str | None
    until: str | None
    reason: str
    created: str


class BanPage(Schema):
    items: list[BanOut]
    next: str | None


class EntryOut(Schema):
    """`subject` null: the act was about the room. `detail`: the new role or name."""

    action: str
    actor: str
    subject: str | None
    message: str | None
    detail: str | None
    until: str | None
    reason: str
    time: str


class EntryPage(Schema):
    items: list[EntryOut]
    next: str | None


class BlockOut(Schema):
    user: str
    created: str


class BlockPage(Schema):
    items: list[BlockOut]
    next: str | None


@router.get("/rooms", response=RoomPage)
def list_rooms(request: HttpRequest, query: Annotated[RoomQuery, Query()]) -> RoomPage:
    """The rooms that I may see, newest first; `q` is a part of the name."""
    user = caller(request)
    rooms = _rooms(user.pk)
    if query.q:
        rooms = rooms.named_like(query.q, user=user.pk)
    page, next = page_of(rooms, query, newest_first=True)
    return RoomPage(items=_show(page, user), next=next)


@router.post("/rooms", response={201: RoomOut})
def create_room(request: HttpRequest, room: NewRoom) -> Status[RoomOut]:
    """Create a room; who creates it owns it."""
    require("rooms", caller(request).pk)
    created = services.create_room(owner=caller(request), name=room.name, kind=room.kind)
    return Status(201, _one_room(request, created.pk))


@router.get("/rooms/{int:room_id}", response=RoomOut)
def get_room(request: HttpRequest, room_id: int) -> RoomOut:
    """One room."""
    return _one_room(request, room_id)


@router.patch("/rooms/{int:room_id}", response=RoomOut)
def rename_room(request: HttpRequest, room_id: int, room: RoomName) -> RoomOut:
    """Rename a room: its owner and moderators may."""
    require("renames", caller(request).pk)
    services.rename_room(room_id=room_id, name=room.name, by=caller(request))
    return _one_room(request, room_id)


@router.delete("/rooms/{int:room_id}", response={204: None})
def delete_room(request: HttpRequest, room_id: int) -> Status[None]:
    """Delete a room with all that was said: its owner may."""
    services.delete_room(room_id=room_id, by=caller(request))
    return Status(204, None)


@router.post("/direct", response=RoomOut)
def open_direct_room(request: HttpRequest, with_whom: DirectWith) -> RoomOut:
    """The one room of me and somebody else, made when there is none; its name is the other's id."""
    require("joins", caller(request).pk)
    room = direct.open_direct_room(username=with_whom.user, by=caller(request))
    return _one_room(request, room.pk)


@router.put("/rooms/{int:room_id}/membership", response=RoomOut)
def join_room(request: HttpRequest, room_id: int) -> RoomOut:
    """Become a member of a public room; may be repeated."""
    require("joins", caller(request).pk)
    services.join_room(room_id=room_id, user=caller(request))
    return _one_room(request, room_id)


@router.delete("/rooms/{int:room_id}/membership", response={204: None})
def leave_room(request: HttpRequest, room_id: int) -> Status[None]:
    """End my membership; may be repeated."""
    require("acts", caller(request).pk)
    services.leave_room(room_id=room_id, user=caller(request))
    return Status(204, None)


@router.get("/rooms/{int:room_id}/members", response=MemberPage)
def list_members(request: HttpRequest, room_id: int, query: Annotated[PlaceQuery, Query()]) -> MemberPage:
    """The members of a room that I may read, in the order in which they joined."""
    require_reader(room_id, caller(request).pk)
    members = Membership.objects.filter(room_id=room_id).select_related("user")
    page, next = page_of(members, query)
    return MemberPage(items=[_member(row) for row in page], next=next)


@router.put("/rooms/{int:room_id}/members/{str:username}", response=MemberOut)
def put_member(request: HttpRequest, room_id: int, username: str, change: MemberChange | None = None) -> MemberOut:
    """Without a body: put somebody into a private room. With `role` or `muted_until`: change a member. Both may be
    repeated."""
    user, wanted = caller(request), change.dict(exclude_unset=True) if change else {}
    if not wanted:
        require("joins", user.pk)
        return _member(services.add_member(room_id=room_id, username=username, by=user))
    require("renames" if wanted.get("role") == Membership.Role.OWNER else "acts", user.pk)
    unmute = "muted_until" in wanted and wanted["muted_until"] is None
    return _member(moderation.change_member(room_id=room_id, username=username, by=user, unmute=unmute, **wanted))


@router.delete("/rooms/{int:room_id}/members/{str:username}", response={204: None})
def remove_member(request: HttpRequest, room_id: int, username: str) -> Status[None]:
    """Kick somebody."""
    require("acts", caller(request).pk)
    services.remove_member(room_id=room_id, username=username, by=caller(request))
    return Status(204, None)


@router.get("/rooms/{int:room_id}/bans", response=BanPage)
def list_bans(request: HttpRequest, room_id: int, query: Annotated[PlaceQuery, Query()]) -> BanPage:
    """Who is banned from a room, for its owner and moderators."""
    require_moderator(room_id, caller(request))
    page, next = page_of(Ban.objects.in_force().filter(room_id=room_id).select_related("user", "by"), query)
    return BanPage(items=[_ban(row) for row in page], next=next)


@router.put("/rooms/{int:room_id}/bans/{str:username}", response=BanOut)
def ban_person(request: HttpRequest, room_id: int, username: str, ban: NewBan | None = None) -> BanOut:
    """Keep somebody out of a room, for a time or for ever; again: with the new end and reason."""
    require("acts", caller(request).pk)
    wanted = (ban or NewBan()).dict()
    return _ban(moderation.ban_person(room_id=room_id, username=username, by=caller(request), **wanted))


@router.delete("/rooms/{int:room_id}/bans/{str:username}", response={204: None})
def lift_ban(request: HttpRequest, room_id: int, username: str) -> Status[None]:
    """Let somebody in again."""
    require("acts", caller(request).pk)
    moderation.lift_ban(room_id=room_id, username=username, by=caller(request))
    return Status(204, None)


@router.get("/rooms/{int:room_id}/log", response=EntryPage)
def list_entries(request: HttpRequest, room_id: int, query: Annotated[PlaceQuery, Query()]) -> EntryPage:
    """What those who lead a room did there, newest first, for its owner and moderators. Who reported what stays with
    the operator: it may be about one of them."""
    require_moderator(room_id, caller(request))
    entries = ModerationEntry.objects.filter(room=room_id).exclude(action=ModerationEntry.Action.REPORT)
    page, next = page_of(entries, query, newest_first=True)
    return EntryPage(items=[_entry(row) for row in page], next=next)


@router.get("/me/blocks", response=BlockPage)
def list_blocks(request: HttpRequest, query: Annotated[PlaceQuery, Query()]) -> BlockPage:
    """Whose words are hidden from me."""
    page, next = page_of(Block.objects.filter(user=caller(request)).select_related("blocked"), query)
    return BlockPage(items=[_block(row) for row in page], next=next)


@router.put("/me/blocks/{str:username}", response=BlockOut)
def block_person(request: HttpRequest, username: str) -> BlockOut:
    """Hide from me what somebody says, everywhere; may be repeated."""
    require("acts", caller(request).pk)
    return _block(blocks.block_person(username=username, by=caller(request)))


@router.delete("/me/blocks/{str:username}", response={204: None})
def unblock_person(request: HttpRequest, username: str) -> Status[None]:
    """Show me again what somebody says; may be repeated."""
    require("acts", caller(request).pk)
    blocks.unblock_person(username=username, by=caller(request))
    return Status(204, None)


@cache
def _figures() -> RoomFigures:
    return RoomFigures(settings.REDIS_URL, **settings.REDIS_OPTIONS)


def _show(rooms: Sequence[Any], user: User) -> list[RoomOut]:
    """Rooms of `_rooms` as their person sees them."""
    figures = _figures().read([room.pk for room in rooms])
    blocked = Block.objects.names(user.pk)
    return [
        RoomOut(
            **services.as_seen_by(user.username, services.room_state(room)),
            role=room.role,
            members=room.members,
            unread=room.unread,
            online=figures[room.pk].online,
            last_message=None if room.banned else _unless_from(blocked, figures[room.pk].last_message),
        )
        for room in rooms
    ]


def _unless_from(blocked: frozenset[str], message: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if message is None or message.get("sender") in blocked else message


def _rooms(user: int) -> RoomQuerySet:
    """The rooms visible to a person, each with `role`, `members`, `unread` and `banned`, in one query."""
    mine = Membership.objects.filter(room=OuterRef("pk"), user_id=user)
    count = Membership.objects.filter(room=OuterRef("pk")).order_by().values("room").annotate(n=Count("pk")).values("n")
    read = Subquery(mine.annotate(seen=Greatest("joined_seq", "read_seq")).values("seen"))
    return (
        Room.objects.visible_to(user)
        .select_related("owner", "direct_low", "direct_high")
        .annotate(
            role=Subquery(mine.values("role")),
            members=Coalesce(Subquery(count, output_field=IntegerField()), 0),
            unread=F("last_seq") - Coalesce(read, F("last_seq")),
            banned=Exists(Ban.objects.of(user).filter(room=OuterRef("pk"))),
        )
    )


def _one_room(request: HttpRequest, room_id: int) -> RoomOut:
    user = caller(request)
    room = _rooms(user.pk).filter(pk=room_id).first()
    if room is None:
        raise no_room()
    return _show([room], user)[0]


def _member(row: Membership) -> MemberOut:
    muted = time_text(row.muted_until) if row.muted_until else None
    return MemberOut(user=row.user.username, role=row.role, joined=time_text(row.joined_at), muted_until=muted)


def _ban(row: Ban) -> BanOut:
    return BanOut(
        user=row.user.username,
        by=row.by.username if row.by else None,
        until=time_text(row.until) if row.until else None,
        reason=row.reason,
        created=time_text(row.created_at),
    )


def _entry(row: ModerationEntry) -> EntryOut:
    return EntryOut(
        action=row.action,
        actor=row.actor,
        subject=row.subject or None,
        message=str(row.message) if row.message else None,
        detail=row.detail or None,
        until=time_text(row.until) if row.until else None,
        reason=row.reason,
        time=time_text(row.created_at),
    )


def _block(row: Block) -> BlockOut:
    return BlockOut(user=row.blocked.username, created=time_text(row.created_at))

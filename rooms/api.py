"""REST: rooms and memberships."""

import base64
from typing import Annotated, Any

from django.db.models import Count, F, IntegerField, OuterRef, Subquery
from django.db.models.functions import Coalesce, Greatest
from django.http import HttpRequest
from ninja import Query, Router, Schema

from accounts.auth import authenticated
from accounts.errors import ChatError, ErrorCode
from events.envelope import time_text
from rooms import services
from rooms.models import Membership, Room, RoomQuerySet

router = Router(auth=authenticated, tags=["rooms"])

MAX_PAGE = 200


class RoomQuery(Schema):
    q: str | None = None
    after: str | None = None
    limit: int = 50


class NewRoom(Schema):
    name: str
    kind: str = Room.Kind.PUBLIC


class RoomName(Schema):
    name: str


@router.get("/rooms")
def list_rooms(request: HttpRequest, query: Annotated[RoomQuery, Query()]) -> dict[str, Any]:
    """The rooms that I may see, newest first; `q` is a part of the name."""
    if not 1 <= query.limit <= MAX_PAGE:
        raise ChatError(ErrorCode.INVALID, f"limit goes from 1 to {MAX_PAGE}.")
    rooms = _rooms(request.user.pk)
    if query.q:
        rooms = rooms.filter(name__icontains=query.q)
    if query.after:
        rooms = rooms.filter(pk__lt=_read_cursor(query.after))
    page = list(rooms.order_by("-pk")[: query.limit + 1])
    more, page = len(page) > query.limit, page[: query.limit]
    return {"items": [room_json(room) for room in page], "next": _cursor(page[-1].pk) if more else None}


@router.post("/rooms", response={201: dict[str, Any]})
def create_room(request: HttpRequest, room: NewRoom) -> tuple[int, dict[str, Any]]:
    created = services.create_room(owner=request.user, name=room.name, kind=room.kind)
    return 201, _one_room(request, created.pk)


@router.get("/rooms/{int:room_id}")
def get_room(request: HttpRequest, room_id: int) -> dict[str, Any]:
    return _one_room(request, room_id)


@router.patch("/rooms/{int:room_id}")
def rename_room(request: HttpRequest, room_id: int, room: RoomName) -> dict[str, Any]:
    services.rename_room(room_id=room_id, name=room.name, by=request.user)
    return _one_room(request, room_id)


@router.delete("/rooms/{int:room_id}", response={204: None})
def delete_room(request: HttpRequest, room_id: int) -> tuple[int, None]:
    services.delete_room(room_id=room_id, by=request.user)
    return 204, None


@router.put("/rooms/{int:room_id}/membership")
def join_room(request: HttpRequest, room_id: int) -> dict[str, Any]:
    """Become a member of a public room; may be repeated."""
    services.join_room(room_id=room_id, user=request.user)
    return _one_room(request, room_id)


@router.delete("/rooms/{int:room_id}/membership", response={204: None})
def leave_room(request: HttpRequest, room_id: int) -> tuple[int, None]:
    """End my membership; may be repeated."""
    services.leave_room(room_id=room_id, user=request.user)
    return 204, None


@router.get("/rooms/{int:room_id}/members")
def list_members(request: HttpRequest, room_id: int, after: str | None = None, limit: int = 100) -> dict[str, Any]:
    """The members of a room that I may see, in the order in which they joined."""
    if not 1 <= limit <= MAX_PAGE:
        raise ChatError(ErrorCode.INVALID, f"limit goes from 1 to {MAX_PAGE}.")
    _one_room(request, room_id)
    members = Membership.objects.filter(room_id=room_id).select_related("user").order_by("pk")
    if after:
        members = members.filter(pk__gt=_read_cursor(after))
    page = list(members[: limit + 1])
    more, page = len(page) > limit, page[:limit]
    return {"items": [_member_json(member) for member in page], "next": _cursor(page[-1].pk) if more else None}


@router.put("/rooms/{int:room_id}/members/{str:username}", response={204: None})
def add_member(request: HttpRequest, room_id: int, username: str) -> tuple[int, None]:
    """Put somebody into a private room."""
    services.add_member(room_id=room_id, username=username, by=request.user)
    return 204, None


@router.delete("/rooms/{int:room_id}/members/{str:username}", response={204: None})
def remove_member(request: HttpRequest, room_id: int, username: str) -> tuple[int, None]:
    """Kick somebody."""
    services.remove_member(room_id=room_id, username=username, by=request.user)
    return 204, None


def room_json(room: Any) -> dict[str, Any]:
    """A room as one person sees it; `room` comes from `_rooms`."""
    return {**services.room_state(room), "role": room.role, "members": room.members, "unread": room.unread}


def _rooms(user: int) -> RoomQuerySet:
    """The rooms visible to a person, each with `role`, `members` and `unread`, in one query."""
    mine = Membership.objects.filter(room=OuterRef("pk"), user_id=user)
    count = Membership.objects.filter(room=OuterRef("pk")).order_by().values("room").annotate(n=Count("pk")).values("n")
    read = Subquery(mine.annotate(seen=Greatest("joined_seq", "read_seq")).values("seen"))
    return (
        Room.objects.visible_to(user)
        .select_related("owner")
        .annotate(
            role=Subquery(mine.values("role")),
            members=Coalesce(Subquery(count, output_field=IntegerField()), 0),
            unread=F("last_seq") - Coalesce(read, F("last_seq")),
        )
    )


def _one_room(request: HttpRequest, room_id: int) -> dict[str, Any]:
    room = _rooms(request.user.pk or 0).filter(pk=room_id).first()
    if room is None:
        raise ChatError(ErrorCode.NOT_FOUND, "There is no such room.")
    return room_json(room)


def _member_json(member: Membership) -> dict[str, Any]:
    muted = member.muted_until
    return {
        "user": member.user.username,
        "role": member.role,
        "joined": time_text(member.joined_at),
        "muted_until": time_text(muted) if muted else None,
    }


def _cursor(pk: int) -> str:
    return base64.urlsafe_b64encode(str(pk).encode()).decode()


def _read_cursor(text: str) -> int:
    try:
        return int(base64.urlsafe_b64decode(text.encode()))
    except ValueError:
        raise ChatError(ErrorCode.INVALID, "The cursor is malformed; use `next` of the page before.") from None

"""The use cases that write rooms and memberships. "Returned" means "committed"; the `…_step` functions are shared and
serve the admin, whose own transaction holds row and outbox row."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import Case, When

from accounts.errors import ChatError, ErrorCode
from accounts.models import User
from accounts.services import record_access_change, record_access_event, record_access_rows
from events.envelope import time_text
from events.schemas import EventType
from events.topics import Topic
from outbox.services import record_event
from rooms.models import Ban, Block, Membership, ReadMark, Room, clean_name
from rooms.moderation_log import Action, mute_in_force, record_action
from rooms.rights import (
    find_and_lock,
    find_member,
    find_person,
    lock_room,
    no_room,
    require_not_banned,
    require_power,
    require_role,
)

# In larger rooms comings and goings of members are not worth a message to everybody.
MAX_ANNOUNCED_MEMBERS = 100
# The group, and the key, of the room list.
ROOM_LIST = "rooms"

Role = Membership.Role


@transaction.atomic(durable=True)
def create_room(*, owner: User, name: str, kind: str) -> Room:
    """Write a room whose first member is its owner. Raises `ChatError` `invalid`."""
    if kind not in {Room.Kind.PUBLIC, Room.Kind.PRIVATE}:
        raise ChatError(ErrorCode.INVALID, "A room's kind is public or private.")
    room = Room(name=_valid_name(name), kind=kind, owner=owner)
    add_room_step(room)
    return room


@transaction.atomic(durable=True)
def rename_room(*, room_id: int, name: str, by: User) -> Room:
    """Raises `ChatError` `not_found`, `forbidden` (owner and moderators rename), `invalid`. The name that it has
    already changes nothing."""
    room = lock_room(room_id, by)
    require_role(room, by, Role.OWNER, Role.MODERATOR)
    name = _valid_name(name)
    if name != room.name:
        room.name = name
        save_room_step(room, by=by)
    return room


@transaction.atomic(durable=True)
def delete_room(*, room_id: int, by: User) -> None:
    """Raises `ChatError` `not_found`, `forbidden` (the owner deletes)."""
    room = lock_room(room_id, by)
    require_role(room, by, Role.OWNER)
    delete_room_step(room, by=by)


@transaction.atomic(durable=True)
def join_room(*, room_id: int, user: User) -> bool:
    """Make somebody a member of a public room; false when the person was one. Raises `ChatError` `not_found`,
    `banned`."""
    room = lock_room(room_id, user)
    if room.kind == Room.Kind.PUBLIC:
        require_not_banned(room.pk, user.pk)
        return add_member_step(room, user, reason="added")
    # Seen before the lock was had; a kick may have come between.
    if not room.memberships.filter(user=user).exists():
        raise no_room()
    return False


@transaction.atomic(durable=True)
def leave_room(*, room_id: int, user: User) -> None:
    """End one's own membership; nothing happens without one, nor without the room, so that leaving can be repeated
    also where it made the room invisible. The owner hands over first (`ChatError` `conflict`); one who is alone takes
    the room along. A direct room is not left (`forbidden`)."""
    room = find_and_lock(room_id, user)
    membership = room.memberships.filter(user=user).first() if room else None
    if room is None or membership is None:
        return
    if room.kind == Room.Kind.DIRECT:
        raise ChatError(ErrorCode.FORBIDDEN, "Nobody leaves a direct room; block the person instead.")
    if membership.role != Role.OWNER:
        remove_member_step(membership, reason="left")
    elif room.memberships.count() == 1:
        delete_room_step(room, by=user)
    else:
        raise ChatError(ErrorCode.CONFLICT, "Hand the room over to another member first.")


@transaction.atomic(durable=True)
def add_member(*, room_id: int, username: str, by: User) -> Membership:
    """Put somebody into a private room. Raises `ChatError` `not_found`, `forbidden` (owner and moderators add),
    `invalid` for a public room, which people join by themselves, `conflict` for somebody who is banned. `forbidden` is
    also the answer while one of the two blocks the other."""
    room = lock_room(room_id, by)
    require_role(room, by, Role.OWNER, Role.MODERATOR)
    if room.kind != Room.Kind.PRIVATE:
        raise ChatError(ErrorCode.INVALID, "Members are added to private rooms; public ones are joined.")
    person = find_person(username)
    if not person.is_active:
        raise ChatError(ErrorCode.NOT_FOUND, "That person's account is deactivated.")
    if Block.objects.between(by, person).exists():
        raise ChatError(ErrorCode.FORBIDDEN, "One of you blocks the other.")
    if Ban.objects.of(person.pk).filter(room=room).exists():
        raise ChatError(ErrorCode.CONFLICT, "That person is banned from this room; lift the ban first.")
    add_member_step(room, person, reason="added", by=by)
    return room.memberships.select_related("user").get(user=person)


@transaction.atomic(durable=True)
def add_programs(*, room_id: int, users: Sequence[User]) -> None:
    """Make many accounts of programs members of a room of any kind, without a word of it in the room; those who are
    stay so. Raises `ChatError` `not_found`."""
    room = Room.objects.select_for_update(no_key=True).filter(pk=room_id).first()
    if room is None:
        raise no_room()
    Membership.objects.bulk_create(
        [Membership(room=room, user=user, joined_seq=room.last_seq, read_seq=room.last_seq) for user in users],
        ignore_conflicts=True,
    )
    record_access_rows(users, room_id=room.pk, reason="added")


@transaction.atomic(durable=True)
def remove_member(*, room_id: int, username: str, by: User) -> None:
    """Kick somebody. Raises `ChatError` `not_found`, `forbidden`; moderators do not act on the owner or each other."""
    room = lock_room(room_id, by)
    acting = require_role(room, by, Role.OWNER, Role.MODERATOR)
    membership = find_member(room, username)
    require_power(acting, membership.role)
    remove_member_step(membership, reason="kicked", by=by)


@transaction.atomic(durable=True)
def leave_for_good(*, room_id: int, user: User) -> None:
    """End the membership of somebody who does not come back. The owner's room goes to the moderator who is there
    longest, else to such a member; a room that nobody is left in is deleted. A direct room stays to the other one, and
    is named anew, since its name is made of theirs."""
    room = Room.objects.select_for_update(no_key=True).filter(pk=room_id).first()
    membership = room.memberships.filter(user=user).select_related("user").first() if room else None
    if room is None or membership is None:
        return
    heir = _heir(room, user)
    if heir is None:
        delete_room_step(room, by=user)
        return
    # First the former owner: one owner a room is a constraint that is checked at once.
    remove_member_step(membership, reason="left")
    if membership.role == Role.OWNER:
        _inherit(room, heir)
    elif room.kind == Room.Kind.DIRECT:
        room.name = direct_name(room)
        room.save(update_fields=["name"])
        record_room_state(room, EventType.ROOM_UPDATED)


# Locked in one order, so that two who write marks of the same people do not wait for each other.
MOVE_MARKS = """
    WITH moved AS (
        SELECT m.id, r.seq FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[]) AS r(user_id, room_id, seq)
        JOIN rooms_membership m ON m.user_id = r.user_id AND m.room_id = r.room_id
        WHERE m.read_seq < r.seq ORDER BY m.id FOR NO KEY UPDATE OF m
    )
    UPDATE rooms_membership m SET read_seq = GREATEST(m.read_seq, moved.seq) FROM moved WHERE m.id = moved.id
    RETURNING m.user_id, m.room_id, m.read_seq
"""


@transaction.atomic(durable=True)
def mark_read(marks: Sequence[ReadMark]) -> list[ReadMark]:
    """Move read marks forward, never back, in one statement; those that were moved. Who is no member has none. What
    people have read is their own affair: no event is recorded."""
    columns = [list(column) for column in zip(*marks, strict=True)] or [[], [], []]
    with connection.cursor() as cursor:
        cursor.execute(MOVE_MARKS, columns)
        return [ReadMark(*row) for row in cursor.fetchall()]


# Steps


def add_room_step(room: Room) -> None:
    """Insert a room and its owner's membership."""
    room.save(force_insert=True)
    Membership.objects.create(room=room, user=room.owner, role=Role.OWNER)
    record_room_state(room, EventType.ROOM_CREATED)
    record_access_change(user=room.owner, room_id=room.pk, reason="added")


def add_direct_room_step(room: Room) -> None:
    """Insert a direct room with its two people as members. Raises `IntegrityError` when there is one."""
    room.save(force_insert=True)
    # In the order of pk, so that two who open rooms with common people do not wait for each other.
    people = [user for user in (room.direct_low, room.direct_high) if user is not None]
    Membership.objects.bulk_create(Membership(room=room, user=user) for user in people)
    record_room_state(room, EventType.ROOM_CREATED)
    for user in people:
        record_access_change(user=user, room_id=room.pk, reason="added")


def save_room_step(room: Room, *, by: User) -> None:
    """Save a renamed room and say so, in its log and to the room list."""
    room.save(update_fields=["name"])
    record_room_state(room, EventType.ROOM_UPDATED)
    record_action(Action.RENAME, room=room.pk, actor=by.username, detail=room.name)
    _record_notice(room, "renamed", name=room.name, by=by.username)


def lock_rooms_step(room_ids: Iterable[int]) -> None:
    """Lock rooms, in the order that keeps two who lock several from waiting for each other."""
    locked = Room.objects.filter(pk__in=room_ids).order_by("pk").select_for_update(no_key=True)
    list(locked.values_list("pk"))


def delete_room_step(room: Room, *, by: User) -> None:
    """Delete a room with all that was said; its members' sockets are told."""
    pk = room.pk
    # In one order, so that two deletions with common members do not wait for each other.
    members = list(User.objects.filter(memberships__room=room).order_by("pk"))
    for member in members:
        record_access_event(user=member, room_id=pk, reason="deleted")
    record_action(Action.DELETE_ROOM, room=pk, actor=by.username, detail=room.name)
    _record_state(room, EventType.ROOM_DELETED, {"id": pk, "kind": room.kind})
    room.delete()
    record_access_rows(members, room_id=pk, reason="deleted")


def add_member_step(room: Room, user: User, *, reason: str, by: User | None = None) -> bool:
    """Insert a membership; false when there is one. Call it with the room's row locked."""
    state = {
        "joined_seq": room.last_seq,
        "read_seq": room.last_seq,
        "muted_until": mute_in_force(room.pk, user.username),
    }
    _, added = Membership.objects.get_or_create(room=room, user=user, defaults=state)
    if added:
        record_access_change(user=user, room_id=room.pk, reason=reason)
        if by is not None:
            record_action(Action.ADD, room=room.pk, actor=by.username, subject=user.username)
        _announce(room, "member_joined", user=user, by=by)
    return added


def remove_member_step(membership: Membership, *, reason: str, by: User | None = None) -> None:
    """Delete a membership. Call it with the room's row locked."""
    room, user = membership.room, membership.user
    membership.delete()
    record_access_change(user=user, room_id=room.pk, reason=reason)
    if reason == "kicked" and by is not None:
        record_action(Action.KICK, room=room.pk, actor=by.username, subject=user.username)
    _announce(room, "member_left" if reason == "left" else "member_removed", user=user, by=by)


# Helpers


def direct_name(room: Room) -> str:
    """What a direct room is called where neither of its people looks."""
    return ", ".join(user.username for user in (room.direct_low, room.direct_high) if user is not None)


def record_room_state(room: Room, type: EventType) -> None:
    """Tell the room list of a room as it is now."""
    _record_state(room, type, room_state(room))


def room_state(room: Room) -> dict[str, Any]:
    """A room as events tell it. Who it is shown to sees `as_seen_by`."""
    two = [user.username for user in (room.direct_low, room.direct_high) if user is not None]
    return {
        "id": room.pk,
        "name": room.name,
        "kind": str(room.kind),
        "owner": room.owner.username,
        "created": time_text(room.created_at),
        "people": two or None,
    }


def as_seen_by(username: str, state: Mapping[str, Any]) -> dict[str, Any]:
    """A room as events tell it, with the name that one of its people sees: of a direct room it is the other's id."""
    seen = dict(state)
    others = [name for name in seen.pop("people", None) or () if name != username]
    return {**seen, "name": others[0]} if others else seen


def room_state_for(room_id: int, user: User) -> dict[str, Any] | None:
    """A room as a member sees it, with the `role`; None for anybody else."""
    mine = Membership.objects.filter(room=room_id, user=user).select_related("room__owner").first()
    return None if mine is None else {**as_seen_by(user.username, room_state(mine.room)), "role": mine.role}


def _valid_name(name: str) -> str:
    try:
        return clean_name(name)
    except ValidationError as error:
        raise ChatError(ErrorCode.INVALID, " ".join(error.messages)) from None


def _heir(room: Room, leaving: User) -> Membership | None:
    """Who leads a room when its owner is gone: somebody who can still sign in, if there is anybody."""
    others = room.memberships.exclude(user=leaving).select_related("user")
    by_role = Case(When(role=Role.MODERATOR, then=0), default=1)
    return others.order_by("-user__is_active", by_role, "pk").first()


def _inherit(room: Room, heir: Membership) -> None:
    heir.role, heir.muted_until = Role.OWNER, None
    heir.save(update_fields=["role", "muted_until"])
    room.owner = heir.user
    room.save(update_fields=["owner"])
    _record_state(room, EventType.ROOM_UPDATED, room_state(room))
    record_access_change(user=heir.user, room_id=room.pk, reason="role")


def _announce(room: Room, event: str, *, user: User, by: User | None) -> None:
    if room.memberships.count() <= MAX_ANNOUNCED_MEMBERS:
        _record_notice(room, event, user=user.username, by=by.username if by else None)


def _record_notice(room: Room, event: str, **details: str | None) -> None:
    """A system message in the room's log; its id will be the outbox row's."""
    data = {"room": room.pk, "event": event, **details}
    _record(room, Topic.MESSAGE_CREATED, f"room.{room.pk}", EventType.NOTICE_CREATED, data)


def _record_state(room: Room, type: EventType, data: Mapping[str, Any]) -> None:
    """All that becomes of a room takes one way, through Redis to the room list: a name never comes before its room."""
    _record(room, Topic.ROOM_CREATED, str(room.pk), type, data)


def _record(room: Room, topic: Topic, key: str, type: EventType, data: Mapping[str, Any]) -> None:
    record_event(aggregate=room, topic=topic, key=key, type=type, data=data)

"""The use cases by which those who lead a room act on its people. They are services as those of `rooms.services`: one
function per use case, and `…_step` functions for the admin, whose own transaction holds row and outbox row."""

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from accounts.errors import ChatError, ErrorCode
from accounts.models import User
from accounts.services import record_access_change
from events.schemas import EventType
from rooms.models import Ban, Membership
from rooms.moderation_log import Action, record_action
from rooms.rights import find_member, find_person, lock_room, require_power, require_role, valid_reason
from rooms.services import record_room_state, remove_member_step

Role = Membership.Role
# Of a mute and of a ban: as good as for ever, and a date that every clock can tell.
LONGEST = timedelta(days=36_500)


@transaction.atomic(durable=True)
def change_member(
    *, room_id: int, username: str, by: User, role: str | None = None, muted_until: datetime | None = None,
    unmute: bool = False,
) -> Membership:  # fmt: skip
    """Give a member another role, mute the member until a moment, or end a mute; None and false leave things as they
    are. The role `owner` hands the room over, and the former owner is a moderator then.

    Raises `ChatError` `not_found`, `invalid`, `forbidden` (the owner gives roles; owner and moderators mute, moderators
    neither the owner nor each other), `conflict` when nobody would be the owner.
    """
    room = lock_room(room_id, by)
    acting = require_role(room, by, Role.OWNER, Role.MODERATOR)
    if role is not None:
        require_role(room, by, Role.OWNER)
        _require_valid_role(role)
    if muted_until is not None:
        _require_future(muted_until, "muted_until")
    membership = find_member(room, username)
    if role is not None:
        set_role_step(membership, role, by=by)
    if muted_until is not None or unmute:
        require_power(acting, membership.role)
        set_mute_step(membership, muted_until, by=by)
    return membership


@transaction.atomic(durable=True)
def ban_person(*, room_id: int, username: str, by: User, until: datetime | None = None, reason: str = "") -> Ban:
    """Keep somebody out of a room until a moment, or for ever: no member any more, and no reader. Somebody who is
    banned gets the new end and reason. Raises `ChatError` `not_found`, `invalid`, `forbidden`."""
    room = lock_room(room_id, by)
    acting = require_role(room, by, Role.OWNER, Role.MODERATOR)
    if until is not None:
        _require_future(until, "until")
    person = find_person(username)
    role = room.memberships.filter(user=person).values_list("role", flat=True).first()
    if role is not None:
        require_power(acting, role)
    ban = Ban(room=room, user=person, by=by, until=until, reason=valid_reason(reason))
    ban_step(ban, by=by)
    return ban


@transaction.atomic(durable=True)
def lift_ban(*, room_id: int, username: str, by: User) -> None:
    """Let somebody in again. Raises `ChatError` `not_found`, `forbidden`."""
    room = lock_room(room_id, by)
    require_role(room, by, Role.OWNER, Role.MODERATOR)
    ban = room.bans.filter(user=find_person(username)).first()
    if ban is None:
        raise ChatError(ErrorCode.NOT_FOUND, "That person is not banned from this room.")
    lift_step(ban, by=by)


# Steps


def set_role_step(membership: Membership, role: str, *, by: User) -> None:
    """Give a member another role. Call it with the room's row locked. Raises `ChatError` `conflict`."""
    if role == membership.role:
        return
    if membership.role == Role.OWNER:
        raise ChatError(ErrorCode.CONFLICT, "A room keeps its owner: hand it over by making somebody else the owner.")
    if role == Role.OWNER:
        _hand_over(membership)
        _record(Action.HAND_OVER, membership, by)
    else:
        membership.role = role
        membership.save(update_fields=["role"])
        record_access_change(user=membership.user, room_id=membership.room.pk, reason="role")
        _record(Action.ROLE, membership, by, detail=role)


def set_mute_step(membership: Membership, until: datetime | None, *, by: User) -> None:
    """Mute a member until a moment; None ends a mute. Call it with the room's row locked."""
    if until == membership.muted_until:
        return
    membership.muted_until = until
    membership.save(update_fields=["muted_until"])
    record_access_change(user=membership.user, room_id=membership.room.pk, reason="role")
    _record(Action.UNMUTE if until is None else Action.MUTE, membership, by, until=until)


def ban_step(ban: Ban, *, by: User) -> None:
    """Write a ban, in the place of one that is there. Call it with the room's row locked. Raises `ChatError`
    `forbidden` for the room's owner."""
    room, user = ban.room, ban.user
    membership = room.memberships.filter(user=user).first()
    if membership is not None and membership.role == Role.OWNER:
        raise ChatError(ErrorCode.FORBIDDEN, "The owner of a room cannot be banned from it.")
    room.bans.filter(user=user).delete()
    ban.save(force_insert=True)
    if membership is None:
        record_access_change(user=user, room_id=room.pk, reason="banned")
    else:
        remove_member_step(membership, reason="banned", by=by)
    _record(Action.BAN, ban, by, until=ban.until, reason=ban.reason)


def lift_step(ban: Ban, *, by: User) -> None:
    """Delete a ban. Nobody has to be told: that somebody is banned is asked anew each time."""
    _record(Action.LIFT, ban, by)
    ban.delete()


def forget_bans_step(user: User) -> None:
    """Of somebody who is erased and comes back nowhere."""
    Ban.objects.filter(user=user).delete()


# Helpers


def _hand_over(membership: Membership) -> None:
    """Raises `ChatError` `conflict`."""
    if not membership.user.is_active:
        raise ChatError(ErrorCode.CONFLICT, "That person's account is deactivated.")
    room, former = membership.room, membership.room.memberships.select_related("user").get(role=Role.OWNER)
    # First the former owner: one owner a room is a constraint that is checked at once.
    former.role, membership.role, membership.muted_until = Role.MODERATOR, Role.OWNER, None
    for each in (former, membership):
        each.save(update_fields=["role", "muted_until"])
    room.owner = membership.user
    room.save(update_fields=["owner"])
    record_room_state(room, EventType.ROOM_UPDATED)
    # In one order, so that two who hand rooms to each other do not wait for each other.
    for user in sorted((former.user, membership.user), key=lambda user: user.pk):
        record_access_change(user=user, room_id=room.pk, reason="role")


def _record(action: Action, about: Membership | Ban, by: User, **details: Any) -> None:
    record_action(action, room=about.room.pk, actor=by.username, subject=about.user.username, **details)


def _require_valid_role(role: str) -> None:
    if role not in Role.values:
        raise ChatError(ErrorCode.INVALID, f"A role is one of {', '.join(Role.values)}.")


def _require_future(moment: datetime, name: str) -> None:
    """Raise `ChatError` `invalid` unless the moment lies ahead, and not beyond what clocks can tell."""
    if not timezone.now() < moment < timezone.now() + LONGEST:
        raise ChatError(ErrorCode.INVALID, f"{name} lies in the future, and within 100 years.")

"""What people may do in rooms. Services ask with the room's row locked, so that the answer holds until they commit."""

from django.core.exceptions import ValidationError
from django.utils import timezone

from accounts.errors import ChatError, ErrorCode
from accounts.models import User
from rooms.models import Ban, Membership, Room, clean_reason

Role = Membership.Role


def lock_room(room_id: int, user: User) -> Room:
    """The room, locked until the transaction ends, so that its members and versions change one after the other. What
    the person may do there must be asked after this. Raises `ChatError` `not_found`."""
    room = find_and_lock(room_id, user)
    if room is None:
        raise no_room()
    return room


def find_and_lock(room_id: int, user: User) -> Room | None:
    # Without the owner's row: PostgreSQL drops a joined row whose room was handed over while this waited for the lock.
    return Room.objects.visible_to(user.pk).select_for_update(no_key=True).filter(pk=room_id).first()


def no_room() -> ChatError:
    return ChatError(ErrorCode.NOT_FOUND, "There is no such room.")


def require_role(room: Room, user: User, *roles: str) -> str:
    """The role of a person, which must be one of these. Raises `ChatError` `forbidden`, always in a direct room."""
    if room.kind == Room.Kind.DIRECT:
        raise ChatError(ErrorCode.FORBIDDEN, "A direct room belongs to both; block the person instead.")
    role = room.memberships.filter(user=user).values_list("role", flat=True).first()
    if role not in roles:
        raise ChatError(ErrorCode.FORBIDDEN, f"This takes the role {' or '.join(roles)}.")
    return role


def require_moderator(room_id: int, user: User) -> None:
    """Raise `ChatError` `not_found` or `forbidden` unless the person leads the room."""
    room = Room.objects.visible_to(user.pk).filter(pk=room_id).first()
    if room is None:
        raise no_room()
    require_role(room, user, Role.OWNER, Role.MODERATOR)


def require_power(acting: str, role: str) -> None:
    """Moderators do not act on the owner or each other, and nobody on the owner. Raises `ChatError` `forbidden`."""
    if role == Role.OWNER or acting == role == Role.MODERATOR:
        raise ChatError(ErrorCode.FORBIDDEN, f"Nobody with the role {acting} does this to the {role} of a room.")


def require_reader(room: int, user: int) -> None:
    """Raise `ChatError` `not_found` or `banned` unless the person may read what was said in the room."""
    if not Room.objects.readable_by(user).filter(pk=room).exists():
        if Room.objects.visible_to(user).filter(pk=room).exists():
            require_not_banned(room, user)
        raise no_room()


def require_not_banned(room: int, user: int) -> None:
    """Raise `ChatError` `banned`, with the seconds until the ban ends where it does."""
    ban = Ban.objects.of(user).filter(room_id=room).first()
    if ban is not None:
        wait = None if ban.until is None else max(1.0, (ban.until - timezone.now()).total_seconds())
        raise ChatError(ErrorCode.BANNED, "You are banned from this room.", retry_after=wait)


def find_person(username: str) -> User:
    """Raises `ChatError` `not_found`."""
    person = User.objects.find(username)
    if person is None:
        raise ChatError(ErrorCode.NOT_FOUND, "There is no such person.")
    return person


def find_member(room: Room, username: str) -> Membership:
    """Raises `ChatError` `not_found`."""
    membership = room.memberships.select_related("user").filter(user=find_person(username)).first()
    if membership is None:
        raise ChatError(ErrorCode.NOT_FOUND, "That person is no member of this room.")
    membership.room = room
    return membership


def valid_reason(reason: str) -> str:
    """A reason as it is stored. Raises `ChatError` `invalid`."""
    try:
        return clean_reason(reason)
    except ValidationError as error:
        raise ChatError(ErrorCode.INVALID, " ".join(error.messages)) from None

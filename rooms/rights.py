"""What people may do in rooms. Services ask with the room's row locked, so that the answer holds until they commit."""

from accounts.errors import ChatError, ErrorCode
from accounts.models import User
from rooms.models import Membership, Room

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


def require_power(acting: str, role: str) -> None:
    """Moderators do not act on the owner or each other, and nobody on the owner. Raises `ChatError` `forbidden`."""
    if role == Role.OWNER or acting == role == Role.MODERATOR:
        raise ChatError(ErrorCode.FORBIDDEN, f"Nobody with the role {acting} does this to the {role} of a room.")


def find_person(username: str) -> User:
    """Raises `ChatError` `not_found`."""
    try:
        return User.objects.get_by_natural_key(username)
    except User.DoesNotExist:
        raise ChatError(ErrorCode.NOT_FOUND, "There is no such person.") from None


def find_member(room: Room, username: str) -> Membership:
    """Raises `ChatError` `not_found`."""
    membership = room.memberships.select_related("user").filter(user=find_person(username)).first()
    if membership is None:
        raise ChatError(ErrorCode.NOT_FOUND, "That person is no member of this room.")
    membership.room = room
    return membership

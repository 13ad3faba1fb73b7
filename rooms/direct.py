"""Direct rooms: one for each two people, whoever opens it. It belongs to both, so nobody leaves, names or leads it."""

from django.db import IntegrityError, transaction

from accounts.errors import ChatError, ErrorCode
from accounts.models import User
from rooms.models import Block, Room
from rooms.rights import find_person
from rooms.services import add_direct_room_step, direct_name


@transaction.atomic(durable=True)
def open_direct_room(*, username: str, by: User) -> Room:
    """The direct room of two people, made when there is none. Raises `ChatError` `invalid` with oneself, `not_found`
    for nobody, or somebody whose account is deactivated, `forbidden` while one of them blocks the other."""
    person = find_person(username)
    if person == by:
        raise ChatError(ErrorCode.INVALID, "A direct room is one with somebody else.")
    block = Block.objects.between(by, person).order_by("pk").first()
    if block is not None:
        mine = block.user == by
        raise ChatError(
            ErrorCode.FORBIDDEN,
            "You block this person; unblock them first." if mine else "This person takes no messages from you.",
        )
    low, high = sorted((by, person), key=lambda user: user.pk)
    room = Room.objects.direct_of(low.pk, high.pk).first()
    if room is not None:
        return room
    if not person.is_active:
        raise ChatError(ErrorCode.NOT_FOUND, "That person's account is deactivated.")
    room = Room(kind=Room.Kind.DIRECT, owner=by, direct_low=low, direct_high=high)
    room.name = direct_name(room)
    try:
        with transaction.atomic():
            add_direct_room_step(room)
    except IntegrityError:
        # The other one has opened it in this moment, and what decided that has waited for the other's commit.
        return Room.objects.direct_of(low.pk, high.pk).get()
    return room

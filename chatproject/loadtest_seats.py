"""Accounts, rooms and tokens for a load test, through the services that write them; used again by the next one."""

from itertools import chain

from accounts.models import User
from accounts.services import register_programs
from accounts.tokens import issue_token
from loadtest import Plan, Seat
from rooms.models import Room
from rooms.services import add_programs, create_room

PREFIX = "load"
# People in one transaction.
BATCH = 500


def prepare_seats(plan: Plan) -> list[Seat]:
    """A seat for each user of the plan; its rooms are private, so that people do not see them. Raises `ChatError`."""
    names = [f"{PREFIX}{number}" for number in range(1, plan.users + 1)]
    batches = (register_programs(usernames=names[n : n + BATCH]) for n in range(0, len(names), BATCH))
    users = list(chain.from_iterable(batches))
    rooms = [_room(users[0], room) for room in range(plan.rooms)]
    members: list[list[User]] = [[] for _ in rooms]
    for number, user in enumerate(users):
        for seen in plan.rooms_of(number):
            members[seen].append(user)
    for room, people in zip(rooms, members, strict=True):
        add_programs(room_id=room.pk, users=people)
    return [
        Seat(number, user.username, issue_token(user, days=1)[0], rooms[plan.room_of(number)].pk)
        for number, user in enumerate(users)
    ]


def _room(owner: User, number: int) -> Room:
    name = f"Load {number + 1}"
    known = Room.objects.filter(owner=owner, name=name, kind=Room.Kind.PRIVATE).first()
    return known or create_room(owner=owner, name=name, kind=Room.Kind.PRIVATE)

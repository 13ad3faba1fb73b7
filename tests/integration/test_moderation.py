"""What those who lead a room may do to its people, and what becomes of it."""

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.utils import timezone

from accounts.errors import ChatError, ErrorCode
from accounts.models import User
from messaging.access import read_access, require_unmuted
from rooms import moderation, services
from rooms.models import Membership, Room
from tests.integration.people_support import at_once, make_person, types_of
from tests.integration.test_rooms_services import changes_of, code_of, make_room, members_of

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _fast_passwords(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def people() -> dict[str, User]:
    return {name: make_person(name) for name in ("owner", "moderator", "other", "member", "stranger")}


@pytest.fixture
def room(people: dict[str, User]) -> Room:
    """With its owner, two moderators and a member."""
    room = make_room(people["owner"], people["moderator"], people["other"], people["member"])
    for name in ("moderator", "other"):
        moderation.change_member(room_id=room.pk, username=name, by=people["owner"], role="moderator")
    return room


def test_handing_over_makes_the_former_owner_a_moderator(room: Room, people: dict[str, User]) -> None:
    """A room has one owner at each moment; the list is told, and so are the rights of both."""
    moderation.change_member(room_id=room.pk, username="member", by=people["owner"], role="owner")
    assert dict(members_of(room)) == {
        "owner": "moderator",
        "moderator": "moderator",
        "other": "moderator",
        "member": "owner",
    }
    room.refresh_from_db()
    assert room.owner == people["member"] and types_of(room)[-1] == "room.updated"
    assert changes_of(people["owner"])[-1] == changes_of(people["member"])[-1] == (room.pk, "role")
    services.leave_room(room_id=room.pk, user=people["owner"])


def test_a_room_that_is_handed_over_twice_at_once_has_one_owner(room: Room, people: dict[str, User]) -> None:
    """The second one was no owner any more."""
    give = partial(moderation.change_member, room_id=room.pk, by=people["owner"], role="owner")
    results = at_once([partial(give, username="member"), partial(give, username="moderator")])
    assert [result.code for result in results if isinstance(result, ChatError)] == [ErrorCode.FORBIDDEN]
    room.refresh_from_db()
    assert [role for _, role in members_of(room)].count("owner") == 1
    assert room.memberships.get(role="owner").user == room.owner


@pytest.mark.parametrize("actor", ["moderator", "member", "stranger"])
def test_only_the_owner_gives_roles(room: Room, people: dict[str, User], actor: str) -> None:
    for role in ("owner", "moderator", "member"):
        change = partial(moderation.change_member, room_id=room.pk, username="member", by=people[actor], role=role)
        assert code_of(change) == ErrorCode.FORBIDDEN


def test_an_owner_stays_until_somebody_else_is(room: Room, people: dict[str, User]) -> None:
    change = partial(moderation.change_member, room_id=room.pk, username="owner", by=people["owner"])
    assert code_of(partial(change, role="member")) == ErrorCode.CONFLICT
    assert change(role="owner").role == "owner"


@pytest.mark.parametrize(
    ("actor", "victim", "allowed"),
    [
        ("owner", "moderator", True),
        ("owner", "member", True),
        ("moderator", "member", True),
        ("moderator", "owner", False),
        ("moderator", "other", False),
        ("moderator", "moderator", False),
        ("owner", "owner", False),
        ("member", "other", False),
        ("stranger", "member", False),
    ],
)
def test_who_may_mute_whom(room: Room, people: dict[str, User], actor: str, victim: str, allowed: bool) -> None:
    """Moderators do not act on the owner or each other; so it is with ending a mute."""
    change = partial(moderation.change_member, room_id=room.pk, username=victim, by=people[actor])
    mute = partial(change, muted_until=timezone.now() + HOUR)
    if not allowed:
        assert code_of(mute) == code_of(partial(change, unmute=True)) == ErrorCode.FORBIDDEN
        return
    mute()
    with pytest.raises(ChatError) as refusal:
        require_unmuted(read_access(people[victim].pk, room.pk))
    assert refusal.value.code == ErrorCode.MUTED and changes_of(people[victim])[-1] == (room.pk, "role")
    change(unmute=True)
    require_unmuted(read_access(people[victim].pk, room.pk))


def test_a_mute_ends_by_itself(room: Room, people: dict[str, User]) -> None:
    """No job has to end it."""
    moderation.change_member(room_id=room.pk, username="member", by=people["owner"], muted_until=timezone.now() + HOUR)
    Membership.objects.filter(user=people["member"]).update(muted_until=timezone.now() - HOUR)
    require_unmuted(read_access(people["member"].pk, room.pk))


def test_nobody_is_changed_who_is_no_member(room: Room, people: dict[str, User]) -> None:
    change = partial(moderation.change_member, room_id=room.pk, username="stranger", by=people["owner"])
    assert code_of(partial(change, role="moderator")) == ErrorCode.NOT_FOUND

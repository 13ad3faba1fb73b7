"""Direct rooms: one for each two people, and nobody's alone."""

from functools import partial

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.errors import ErrorCode
from accounts.models import User
from accounts.services import deactivate_user
from messaging.access import read_access
from outbox.models import OutboxEvent
from rooms import moderation, services
from rooms.blocks import block_person, unblock_person
from rooms.direct import open_direct_room
from rooms.models import Room
from tests.integration.people_support import Door, at_once, make_person, refused
from tests.integration.test_rooms_services import changes_of, code_of, members_of

pytestmark = pytest.mark.django_db(transaction=True)


def test_two_people_have_one_direct_room_whoever_opens_it(alice: User, bob: User) -> None:
    """Both are told of it, and neither leads it."""
    room = open_direct_room(username="BOB", by=alice)
    assert open_direct_room(username="alice", by=bob) == room == open_direct_room(username="bob", by=alice)
    assert members_of(room) == [("alice", "member"), ("bob", "member")]
    assert changes_of(alice) == changes_of(bob) == [(room.pk, "added")]
    created = OutboxEvent.objects.get(type="chat.room.created.v1")
    assert created.payload["people"] == ["alice", "bob"]
    assert not read_access(alice.pk, room.pk).moderates


@pytest.mark.parametrize("_", range(3))
def test_two_who_open_it_at_the_same_moment_meet_in_one_room(alice: User, bob: User, _: int) -> None:
    calls = [partial(open_direct_room, username="bob", by=alice), partial(open_direct_room, username="alice", by=bob)]
    rooms = at_once(calls * 3)
    assert {room.pk for room in rooms} == {Room.objects.get().pk}
    assert len(changes_of(alice)) == len(changes_of(bob)) == 1


def test_many_pairs_open_their_rooms_at_once(alice: User, bob: User) -> None:
    """Nobody waits for the others in a circle."""
    carol = make_person("carol")
    pairs = [(alice, bob), (bob, carol), (carol, alice), (bob, alice), (carol, bob), (alice, carol)]
    rooms = at_once(partial(open_direct_room, username=other.username, by=user) for user, other in pairs)
    assert len({room.pk for room in rooms}) == 3


def test_with_whom_there_is_no_direct_room(alice: User, bob: User) -> None:
    """Oneself, nobody, and who has gone; a room that is there stays."""
    for username, code in (("alice", ErrorCode.INVALID), ("nobody", ErrorCode.NOT_FOUND)):
        assert code_of(partial(open_direct_room, username=username, by=alice)) == code
    room = open_direct_room(username="bob", by=alice)
    make_person("carol")
    for person in User.objects.exclude(pk=alice.pk):
        deactivate_user(user=person)
    assert open_direct_room(username="bob", by=alice) == room
    assert code_of(partial(open_direct_room, username="carol", by=alice)) == ErrorCode.NOT_FOUND


def test_a_direct_room_is_named_after_the_other(alice: User, bob: User) -> None:
    """For each of the two, also in the search; strangers know nothing of it."""
    services.create_room(owner=alice, name="bobsled", kind="public")
    doors = {user.username: Door(token_of=user) for user in (alice, bob)}
    room = doors["alice"].call("POST", "/direct", {"user": "bob"})
    assert (room["name"], room["kind"], room["role"], room["members"]) == ("bob", "direct", "member", 2)
    assert doors["bob"].call("POST", "/direct", {"user": "alice"})["name"] == "alice"
    assert [found["name"] for found in doors["alice"].get("/rooms", q="BO")["items"]] == ["bob", "bobsled"]
    assert [found["name"] for found in doors["bob"].get("/rooms", q="ali")["items"]] == ["alice"]
    assert doors["bob"].get("/rooms", q="bob")["items"][0]["kind"] == "public"
    stranger = Door(token_of=make_person("carol"))
    assert refused(stranger, stranger.get(f"/rooms/{room['id']}")) == (404, "not_found")
    for body in ({"user": "alice"}, {}, {"user": 1}, {"user": "a\0b"}):
        answer = doors["alice"].call("POST", "/direct", body)
        assert refused(doors["alice"], answer)[0] in (400, 404)


def test_a_list_of_direct_rooms_costs_no_more_queries(alice: User) -> None:
    for number in range(5):
        open_direct_room(username=make_person(f"p{number}").username, by=alice)
    door = Door(token_of=alice)
    with CaptureQueriesContext(connection) as queries:
        assert len(door.get("/rooms")["items"]) == 5
    assert len([query for query in queries if query["sql"].startswith("SELECT")]) == 3


def test_in_a_direct_room_nobody_leads_and_nobody_goes(alice: User, bob: User) -> None:
    """Each attempt is told so."""
    make_person("carol")
    room = open_direct_room(username="bob", by=alice)
    act = {"room_id": room.pk, "by": alice}
    for call in (
        partial(services.leave_room, room_id=room.pk, user=alice),
        partial(services.rename_room, name="x", **act),
        partial(services.delete_room, **act),
        partial(services.add_member, username="carol", **act),
        partial(services.remove_member, username="bob", **act),
        partial(moderation.change_member, username="bob", role="owner", **act),
        partial(moderation.change_member, username="bob", unmute=True, **act),
        partial(moderation.ban_person, username="bob", **act),
        partial(moderation.lift_ban, username="bob", **act),
    ):
        assert code_of(call) == ErrorCode.FORBIDDEN
    assert services.join_room(room_id=room.pk, user=bob) is False
    assert members_of(room) == [("alice", "member"), ("bob", "member")]


def test_who_is_deleted_leaves_the_other_one_with_what_was_said(alice: User, bob: User) -> None:
    room = open_direct_room(username="bob", by=alice)
    bob.delete()
    assert Door(token_of=alice).get(f"/rooms/{room.pk}")["name"] == "alice, bob"


def test_who_blocks_or_is_blocked_opens_no_direct_room(alice: User, bob: User) -> None:
    """Until the block is lifted."""
    block_person(username="bob", by=alice)
    for user, other in ((alice, bob), (bob, alice)):
        assert code_of(partial(open_direct_room, username=other.username, by=user)) == ErrorCode.FORBIDDEN
    unblock_person(username="bob", by=alice)
    open_direct_room(username="bob", by=alice)

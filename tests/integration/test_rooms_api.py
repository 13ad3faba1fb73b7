"""REST of rooms: what people see of them, and who may do what."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from django.conf import settings as project
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.cache import Entry, VersionedCache
from accounts.known import known_people
from accounts.models import User
from rooms import api, services
from rooms.figures import RoomFigures, last_message_key
from rooms.models import Membership, Room
from rooms.presence import keys_of, member_of
from tests.integration.people_support import Door, make_person, refused

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def store() -> "Iterator[redis.Redis]":
    """Redis, empty of rooms before and after."""
    client = redis.Redis.from_url(project.REDIS_URL)
    for pattern in ("room:*", "presence:*"):
        for key in client.scan_iter(pattern):
            client.delete(key)
    yield client
    client.close()


def make_rooms(owner: User, count: int, *, kind: str = "public") -> list[Room]:
    return [services.create_room(owner=owner, name=f"{kind} {number}", kind=kind) for number in range(count)]


def test_a_created_room_is_shown_as_its_owner_sees_it(alice: User, store: Any) -> None:
    """201, with every field of the protocol."""
    door = Door(token_of=alice)
    room = door.call("POST", "/rooms", {"name": " Café ", "kind": "private"})
    assert door.status == 201
    assert room.pop("created").endswith("Z") and room.pop("id") == Room.objects.get().pk
    assert room == {
        "name": "Café", "kind": "private", "owner": "alice", "role": "owner",
        "members": 1, "online": 0, "unread": 0, "last_message": None,
    }  # fmt: skip


@pytest.mark.parametrize("body", [{}, {"name": ""}, {"name": "a\0b"}, {"name": "x", "kind": "direct"}, {"name": 1}])
def test_bad_rooms_are_invalid(alice: User, body: Any) -> None:
    """And nothing is there afterwards."""
    door = Door(token_of=alice)
    assert refused(door, door.call("POST", "/rooms", body)) == (400, "invalid")
    assert door.get("/rooms") == {"items": [], "next": None}


def test_private_rooms_are_seen_by_members_only(alice: User, bob: User) -> None:
    """For others every call says `not_found`, as for a room that never was."""
    public, private = make_rooms(alice, 1)[0], make_rooms(alice, 1, kind="private")[0]
    door = Door(token_of=bob)
    assert [room["id"] for room in door.get("/rooms")["items"]] == [public.pk]
    for pk in (private.pk, 10**9, 10**30):
        for method, path, body in [
            ("GET", "", None),
            ("GET", "/members", None),
            ("PATCH", "", {"name": "x"}),
            ("DELETE", "", None),
            ("PUT", "/membership", None),
            ("PUT", "/members/bob", None),
            ("DELETE", "/members/alice", None),
        ]:
            assert refused(door, door.call(method, f"/rooms/{pk}{path}", body)) == (404, "not_found"), (method, path)
    assert [room["id"] for room in Door(token_of=alice).get("/rooms")["items"]] == [private.pk, public.pk]


def test_the_list_goes_page_by_page_and_can_be_searched(alice: User) -> None:
    """Newest first; nothing twice, nothing left out."""
    rooms = make_rooms(alice, 7)
    services.rename_room(room_id=rooms[2].pk, name="Needle 100%", by=alice)
    door, seen, after = Door(token_of=alice), [], {}
    while True:
        page = door.get("/rooms", limit=3, **after)
        seen += [room["id"] for room in page["items"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert seen == [room.pk for room in reversed(rooms)]
    assert [room["id"] for room in door.get("/rooms", q="neEDle")["items"]] == [rooms[2].pk]
    assert [room["id"] for room in door.get("/rooms", q="0%")["items"]] == [rooms[2].pk]


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 201}, {"limit": "x"}, {"after": "?"}, {"q": "a\0b"}])
def test_bad_queries_are_invalid(alice: User, query: Any) -> None:
    """With a sentence, not with a traceback."""
    door = Door(token_of=alice)
    assert refused(door, door.get("/rooms", **query)) == (400, "invalid")


def test_the_list_costs_the_same_queries_for_10_and_1000_rooms(alice: User, bob: User) -> None:
    """However many rooms and members."""
    counts = []
    for count in (10, 1000):
        new = range(Room.objects.count(), count)
        rooms = Room.objects.bulk_create(Room(name=f"Room {number}", owner=bob) for number in new)
        Membership.objects.bulk_create(Membership(room=room, user=user) for room in rooms for user in (alice, bob))
        # Of who calls the answer is kept for a second.
        known_people.forget(alice.pk)
        with CaptureQueriesContext(connection) as queries:
            page = Door(token_of=alice).get("/rooms", limit=200)
        assert len(page["items"]) == min(count, 200)
        counts.append(len([query for query in queries if query["sql"].startswith("SELECT")]))
    # Who calls, the rooms, and whom the caller blocks.
    assert counts == [3, 3]


def test_figures_come_from_redis(alice: User, bob: User, store: Any) -> None:
    """People online and the last message; people who are there twice count once."""
    first, second = make_rooms(alice, 2)
    services.join_room(room_id=first.pk, user=bob)
    cache = VersionedCache(project.REDIS_URL, **project.REDIS_OPTIONS)
    cache.write([Entry(last_message_key(first.pk), 2, {"text": "new"})])
    cache.write([Entry(last_message_key(first.pk), 1, {"text": "old"})])
    sessions, people = keys_of(first.pk)
    for user, session in [("alice", "s1"), ("alice", "s2"), ("bob", "s3")]:
        store.zadd(sessions, {member_of(user, session): 2**52})
        store.hincrby(people, user, 1)
    rooms = {room["id"]: room for room in Door(token_of=alice).get("/rooms")["items"]}
    assert (rooms[first.pk]["online"], rooms[first.pk]["last_message"]) == (2, {"text": "new"})
    assert rooms[first.pk]["members"] == 2 and rooms[second.pk]["members"] == 1
    assert (rooms[second.pk]["online"], rooms[second.pk]["last_message"]) == (0, None)


def test_without_redis_the_list_is_there_all_the_same(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Redis knows is unknown."""
    monkeypatch.setattr(api, "_figures", lambda: RoomFigures("redis://127.0.0.1:1/0", socket_connect_timeout=1))
    make_rooms(alice, 1)
    (room,) = Door(token_of=alice).get("/rooms")["items"]
    assert (room["online"], room["last_message"], room["members"]) == (None, None, 1)


def test_unread_counts_from_the_mark_and_from_joining(alice: User, bob: User) -> None:
    """Whichever is later; without membership nothing is unread."""
    (room,) = make_rooms(alice, 1)
    Room.objects.filter(pk=room.pk).update(last_seq=4)
    door = Door(token_of=bob)
    assert door.get(f"/rooms/{room.pk}")["unread"] == 0
    assert door.call("PUT", f"/rooms/{room.pk}/membership")["unread"] == 0
    Room.objects.filter(pk=room.pk).update(last_seq=10)
    assert door.get(f"/rooms/{room.pk}")["unread"] == 6
    Membership.objects.filter(room=room, user=bob).update(read_seq=9)
    assert door.get(f"/rooms/{room.pk}")["unread"] == 1
    assert Door(token_of=alice).get(f"/rooms/{room.pk}")["unread"] == 10


def test_joining_and_leaving(alice: User, bob: User) -> None:
    """Both may be repeated; the answer of joining is the room."""
    (room,) = make_rooms(alice, 1)
    door = Door(token_of=bob)
    for _ in range(2):
        answer = door.call("PUT", f"/rooms/{room.pk}/membership")
        assert (door.status, answer["role"], answer["members"]) == (200, "member", 2)
    for _ in range(2):
        door.call("DELETE", f"/rooms/{room.pk}/membership")
        assert door.status == 204
    assert door.get(f"/rooms/{room.pk}")["role"] is None
    owner = Door(token_of=alice)
    door.call("PUT", f"/rooms/{room.pk}/membership")
    assert refused(owner, owner.call("DELETE", f"/rooms/{room.pk}/membership")) == (409, "conflict")


def test_leaving_a_private_room_may_be_repeated(alice: User, bob: User) -> None:
    """It is invisible by then, and the answer the same: the first one may have been lost."""
    (room,) = make_rooms(alice, 1, kind="private")
    services.add_member(room_id=room.pk, username="bob", by=alice)
    door = Door(token_of=bob)
    for _ in range(2):
        door.call("DELETE", f"/rooms/{room.pk}/membership")
        assert door.status == 204


def test_renaming_and_deleting(alice: User, bob: User) -> None:
    """The owner may; another person hears `forbidden`."""
    (room,) = make_rooms(alice, 1)
    owner, other = Door(token_of=alice), Door(token_of=bob)
    path = f"/rooms/{room.pk}"
    assert refused(other, other.call("PATCH", path, {"name": "x"})) == (403, "forbidden")
    assert refused(other, other.call("DELETE", path)) == (403, "forbidden")
    assert owner.call("PATCH", path, {"name": " New "})["name"] == "New"
    owner.call("DELETE", path)
    assert owner.status == 204
    assert refused(owner, owner.get(path)) == (404, "not_found")


def test_members_are_listed_in_the_order_of_joining(alice: User, bob: User) -> None:
    """Page by page, in a constant number of queries."""
    (room,) = make_rooms(alice, 1)
    for user in (bob, make_person("Carol")):
        services.join_room(room_id=room.pk, user=user)
    door = Door(token_of=bob)
    with CaptureQueriesContext(connection) as queries:
        page = door.get(f"/rooms/{room.pk}/members", limit=2)
    assert len([query for query in queries if query["sql"].startswith("SELECT")]) == 3
    assert [(row["user"], row["role"]) for row in page["items"]] == [("alice", "owner"), ("bob", "member")]
    assert set(page["items"][0]) == {"user", "role", "joined", "muted_until"}
    rest = door.get(f"/rooms/{room.pk}/members", after=page["next"])
    assert ([row["user"] for row in rest["items"]], rest["next"]) == (["Carol"], None)


def test_adding_and_kicking(alice: User, bob: User) -> None:
    """The answer of adding is the member; names are found without regard to case."""
    (room,) = make_rooms(alice, 1, kind="private")
    door = Door(token_of=alice)
    assert door.call("PUT", f"/rooms/{room.pk}/members/BOB")["user"] == "bob"
    assert Door(token_of=bob).get(f"/rooms/{room.pk}")["role"] == "member"
    door.call("DELETE", f"/rooms/{room.pk}/members/Bob")
    assert door.status == 204
    bobs = Door(token_of=bob)
    assert refused(bobs, bobs.get(f"/rooms/{room.pk}")) == (404, "not_found")
    assert refused(door, door.call("PUT", f"/rooms/{room.pk}/members/nobody")) == (404, "not_found")
    assert refused(door, door.call("PUT", f"/rooms/{room.pk}/members/a%00b")) == (404, "not_found")


def test_a_member_gets_a_role_and_a_mute(alice: User, bob: User) -> None:
    """The answer is the member; what is left out stays, and null ends the mute."""
    (room,) = make_rooms(alice, 1, kind="private")
    services.add_member(room_id=room.pk, username="bob", by=alice)
    door, path = Door(token_of=alice), f"/rooms/{room.pk}/members/bob"
    assert door.call("PUT", path, {"role": "moderator"})["role"] == "moderator"
    muted = door.call("PUT", path, {"muted_until": "2099-01-01T01:00:00+01:00"})
    assert (muted["role"], muted["muted_until"]) == ("moderator", "2099-01-01T00:00:00.000Z")
    assert door.call("PUT", path, {"role": "member"})["muted_until"] is not None
    assert door.call("PUT", path, {"muted_until": None})["muted_until"] is None
    assert door.call("PUT", path, {"role": "owner"})["role"] == "owner"
    assert (door.get(f"/rooms/{room.pk}")["role"], door.get(f"/rooms/{room.pk}")["owner"]) == ("moderator", "bob")


@pytest.mark.parametrize(
    "body",
    [
        {"role": "king"},
        {"role": "a\0b"},
        {"role": 1},
        {"muted_until": "tomorrow"},
        {"muted_until": "2099-01-01T00:00:00"},
        {"muted_until": "2001-01-01T00:00:00Z"},
        {"muted_until": "9999-12-31T23:59:59-12:00"},
        {"muted_until": 1e300},
    ],
)
def test_bad_roles_and_mutes_are_invalid(alice: User, bob: User, body: Any) -> None:
    """And change nothing."""
    (room,) = make_rooms(alice, 1, kind="private")
    services.add_member(room_id=room.pk, username="bob", by=alice)
    door = Door(token_of=alice)
    assert refused(door, door.call("PUT", f"/rooms/{room.pk}/members/bob", body)) == (400, "invalid")
    member = Membership.objects.get(user=bob)
    assert (member.role, member.muted_until) == ("member", None)

"""What writes rooms and memberships: rows and outbox rows together, or neither; and one after the other."""

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from accounts.errors import ChatError, ErrorCode
from accounts.models import AccessChange, User
from messaging.hub import _read_members
from outbox.models import OutboxEvent
from rooms import services
from rooms.models import Membership, Room
from tests.integration.people_support import at_once, events_of, make_person, types_of

pytestmark = pytest.mark.django_db(transaction=True)


def make_room(owner: User, *members: User, kind: str = "public", name: str = "Lobby") -> Room:
    room = services.create_room(owner=owner, name=name, kind=kind)
    for member in members:
        if kind == "public":
            services.join_room(room_id=room.pk, user=member)
        else:
            services.add_member(room_id=room.pk, username=member.username, by=owner)
    return room


def members_of(room: Room) -> list[tuple[str, str]]:
    return list(room.memberships.order_by("pk").values_list("user__username", "role"))


def changes_of(user: User) -> list[tuple[int | None, str]]:
    return list(AccessChange.objects.filter(user_id=user.pk).order_by("pk").values_list("room_id", "reason"))


def notices_of(room: Room) -> list[tuple[str, str | None, str | None]]:
    """The room's notices: event, user, by; each for the room's log."""
    rows = OutboxEvent.objects.filter(
        type="chat.notice.created.v1", key=f"room.{room.pk}", topic="chat.message.created"
    )
    return [(row.payload["event"], row.payload["user"], row.payload["by"]) for row in rows.order_by("version")]


def code_of(call: partial[Any]) -> str:
    with pytest.raises(ChatError) as refusal:
        call()
    return refusal.value.code


def test_creating_a_room_makes_its_owner_a_member(alice: User) -> None:
    """Room, membership, event and access change are committed together."""
    room = services.create_room(owner=alice, name="  Café  ", kind="private")
    assert (room.name, members_of(room)) == ("Café", [("alice", "owner")])
    assert events_of(room) == [(1, "chat.room.created.v1", "chat.room.created", str(room.pk))]
    payload = OutboxEvent.objects.get(aggregate_type="room").payload
    assert {**payload, "created": ""} == {
        "id": room.pk, "name": "Café", "kind": "private", "owner": "alice", "created": "", "people": None,
    }  # fmt: skip
    assert changes_of(alice) == [(room.pk, "added")]


@pytest.mark.parametrize(
    "name, kind", [("", "public"), (" ", "public"), ("x" * 81, "public"), ("x", "direct"), ("x", "?")]
)
def test_bad_rooms_are_refused(alice: User, name: str, kind: str) -> None:
    """And leave nothing behind."""
    assert code_of(partial(services.create_room, owner=alice, name=name, kind=kind)) == ErrorCode.INVALID
    assert not Room.objects.exists() and types_of(alice) == ["user.created"]


@pytest.mark.parametrize(
    "call",
    [
        lambda room, alice, bob: services.create_room(owner=alice, name="x", kind="public"),
        lambda room, alice, bob: services.join_room(room_id=room.pk, user=User.objects.get(username="carol")),
        lambda room, alice, bob: services.leave_room(room_id=room.pk, user=bob),
        lambda room, alice, bob: services.rename_room(room_id=room.pk, name="y", by=alice),
        lambda room, alice, bob: services.remove_member(room_id=room.pk, username="bob", by=alice),
        lambda room, alice, bob: services.delete_room(room_id=room.pk, by=alice),
    ],
)
def test_no_event_no_change(call: Any, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be recorded has not happened: rows and outbox rows roll back together."""
    make_person("carol")
    room = make_room(alice, bob)
    before = snapshot()

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(services, "record_event", fail)
    monkeypatch.setattr(
        "tests.integration.test_rooms_services.make_person", lambda name: User.objects.get(username="carol")
    )
    with pytest.raises((ZeroDivisionError, User.DoesNotExist)):
        call(room, alice, bob)
    assert snapshot() == before


def snapshot() -> list[Any]:
    models = (Room, Membership, AccessChange, OutboxEvent)
    return [list(model._default_manager.order_by("pk").values()) for model in models]


@pytest.mark.parametrize(
    "call",
    [
        partial(services.create_room, owner=User(), name="x", kind="public"),
        partial(services.join_room, room_id=1, user=User()),
        partial(services.leave_room, room_id=1, user=User()),
        partial(services.add_member, room_id=1, username="x", by=User()),
        partial(services.remove_member, room_id=1, username="x", by=User()),
        partial(services.rename_room, room_id=1, name="x", by=User()),
        partial(services.delete_room, room_id=1, by=User()),
    ],
)
def test_a_service_refuses_a_transaction_of_somebody_else(call: partial[Any]) -> None:
    """Otherwise "returned" would not mean "committed"."""
    with pytest.raises(RuntimeError, match="durable"), transaction.atomic():
        call()


def test_joining_and_leaving_are_told_and_may_be_repeated(alice: User, bob: User) -> None:
    """The second time changes nothing."""
    room = make_room(alice)
    assert [services.join_room(room_id=room.pk, user=bob) for _ in range(2)] == [True, False]
    assert members_of(room) == [("alice", "owner"), ("bob", "member")]
    for _ in range(2):
        services.leave_room(room_id=room.pk, user=bob)
    assert notices_of(room) == [("member_joined", "bob", None), ("member_left", "bob", None)]
    assert changes_of(bob) == [(room.pk, "added"), (room.pk, "left")]
    topics = [(topic, key) for _, type, topic, key in events_of(bob) if "access" in type]
    assert topics == [("chat.room.notification", f"user.{bob.pk}")] * 2


def test_who_joins_has_nothing_unread(alice: User, bob: User) -> None:
    """Only what is said from then on counts."""
    room = make_room(alice)
    Room.objects.filter(pk=room.pk).update(last_seq=5)
    services.join_room(room_id=room.pk, user=bob)
    membership = Membership.objects.get(room=room, user=bob)
    assert (membership.joined_seq, membership.read_seq) == (5, 5)


def test_comings_and_goings_in_large_rooms_are_no_notice(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to 100 members they are; the change of access is told all the same."""
    monkeypatch.setattr(services, "MAX_ANNOUNCED_MEMBERS", 3)
    room = make_room(alice)
    people = [make_person(f"p{number}") for number in range(3)]
    for person in people:
        services.join_room(room_id=room.pk, user=person)
    assert [user for _, user, _ in notices_of(room)] == ["p0", "p1"]
    assert changes_of(people[2]) == [(room.pk, "added")]
    services.leave_room(room_id=room.pk, user=people[0])
    assert notices_of(room)[-1] == ("member_left", "p0", None)


def test_many_joins_at_once_make_one_membership(alice: User, bob: User) -> None:
    """And one notice."""
    room = make_room(alice)
    results = at_once([partial(services.join_room, room_id=room.pk, user=bob)] * 5)
    assert sorted(results) == [False] * 4 + [True]
    assert notices_of(room) == [("member_joined", "bob", None)]


def test_many_people_join_at_once(alice: User) -> None:
    """Versions of the room are dense whatever the order."""
    room = make_room(alice)
    people = [make_person(f"p{number}") for number in range(6)]
    assert at_once(partial(services.join_room, room_id=room.pk, user=person) for person in people) == [True] * 6
    assert [version for version, *_ in events_of(room)] == list(range(1, 8))
    assert room.memberships.count() == 7


@pytest.mark.parametrize("_", range(5))
def test_joining_a_room_that_is_being_deleted(alice: User, bob: User, _: int) -> None:
    """Either bob was a member of it and hears of its end, or there is no such room."""
    room = make_room(alice)
    joined, _deleted = at_once(
        [
            partial(services.join_room, room_id=room.pk, user=bob),
            partial(services.delete_room, room_id=room.pk, by=alice),
        ]
    )
    assert not Room.objects.exists() and not Membership.objects.exists()
    if isinstance(joined, ChatError):
        assert joined.code == ErrorCode.NOT_FOUND and changes_of(bob) == []
    else:
        assert changes_of(bob) == [(room.pk, "added"), (room.pk, "deleted")]


def test_a_private_room_is_not_there_for_others(alice: User, bob: User) -> None:
    """Whatever they try; leaving what one is not in is done already."""
    room = make_room(alice, kind="private")
    for call in (
        partial(services.join_room, room_id=room.pk, user=bob),
        partial(services.rename_room, room_id=room.pk, name="x", by=bob),
        partial(services.delete_room, room_id=room.pk, by=bob),
        partial(services.add_member, room_id=room.pk, username="bob", by=bob),
        partial(services.remove_member, room_id=room.pk, username="alice", by=bob),
    ):
        assert code_of(call) == ErrorCode.NOT_FOUND
    services.leave_room(room_id=room.pk, user=bob)
    assert list(Room.objects.visible_to(alice.pk)) == [room] and not Room.objects.visible_to(bob.pk).exists()


def test_somebody_who_was_added_may_leave_and_is_out(alice: User, bob: User) -> None:
    """Out of a private room nobody comes back alone; leaving twice is fine."""
    room = make_room(alice, bob, kind="private")
    assert services.join_room(room_id=room.pk, user=bob) is False
    for _ in range(2):
        services.leave_room(room_id=room.pk, user=bob)
    assert code_of(partial(services.join_room, room_id=room.pk, user=bob)) == ErrorCode.NOT_FOUND
    assert notices_of(room)[0] == ("member_joined", "bob", "alice")


def test_a_kick_that_comes_between_is_not_undone_by_joining(alice: User, bob: User) -> None:
    """Who waited for the room's lock is asked again who he is."""
    room = make_room(alice, bob, kind="private")
    for _ in range(5):
        at_once(
            [
                partial(services.remove_member, room_id=room.pk, username="bob", by=alice),
                partial(services.join_room, room_id=room.pk, user=bob),
            ]
        )
        assert members_of(room) == [("alice", "owner")]
        services.add_member(room_id=room.pk, username="bob", by=alice)


def test_adding_is_for_private_rooms_and_those_who_lead_them(alice: User, bob: User) -> None:
    """Public rooms are joined."""
    private, public = make_room(alice, bob, kind="private"), make_room(alice)
    make_person("carol")
    add = partial(services.add_member, username="carol")
    assert code_of(partial(add, room_id=private.pk, by=bob)) == ErrorCode.FORBIDDEN
    assert code_of(partial(add, room_id=public.pk, by=alice)) == ErrorCode.INVALID
    assert code_of(partial(add, room_id=private.pk, by=alice, username="nobody")) == ErrorCode.NOT_FOUND
    Membership.objects.filter(room=private, user=bob).update(role=Membership.Role.MODERATOR)
    assert add(room_id=private.pk, by=bob, username="CAROL").user.username == "carol"
    assert add(room_id=private.pk, by=alice).role == "member"


@pytest.mark.parametrize(
    ("actor", "victim", "allowed"),
    [
        ("owner", "moderator", True),
        ("owner", "member", True),
        ("moderator", "member", True),
        ("moderator", "owner", False),
        ("moderator", "other", False),
        ("member", "other", False),
        ("stranger", "member", False),
        ("owner", "owner", False),
    ],
)
def test_who_may_kick_whom(actor: str, victim: str, allowed: bool) -> None:
    """Moderators do not act on the owner or each other."""
    people = {name: make_person(name) for name in ("owner", "moderator", "other", "member", "stranger")}
    room = make_room(people["owner"], people["moderator"], people["other"], people["member"])
    Membership.objects.filter(user__username__in=["moderator", "other"]).update(role=Membership.Role.MODERATOR)
    kick = partial(services.remove_member, room_id=room.pk, username=victim, by=people[actor])
    if not allowed:
        assert code_of(kick) == ErrorCode.FORBIDDEN
        return
    kick()
    assert notices_of(room)[-1] == ("member_removed", victim, actor)
    assert changes_of(people[victim])[-1] == (room.pk, "kicked")
    assert services.join_room(room_id=room.pk, user=people[victim]) is True


def test_kicking_who_is_not_there(alice: User, bob: User) -> None:
    """Neither a stranger nor nobody."""
    room = make_room(alice)
    for username in ("bob", "nobody", "a\0b"):
        assert (
            code_of(partial(services.remove_member, room_id=room.pk, username=username, by=alice))
            == ErrorCode.NOT_FOUND
        )


def test_an_owner_hands_over_first_unless_alone(alice: User, bob: User) -> None:
    """Alone, the room goes too."""
    room = make_room(alice, bob)
    assert code_of(partial(services.leave_room, room_id=room.pk, user=alice)) == ErrorCode.CONFLICT
    services.leave_room(room_id=room.pk, user=bob)
    services.leave_room(room_id=room.pk, user=alice)
    assert not Room.objects.exists()
    services.leave_room(room_id=room.pk, user=alice)


def test_renaming_is_told_in_the_room_and_in_the_list(alice: User, bob: User) -> None:
    """The owner and moderators rename; the same name again is no news."""
    room = make_room(alice, bob)
    assert code_of(partial(services.rename_room, room_id=room.pk, name="x", by=bob)) == ErrorCode.FORBIDDEN
    assert code_of(partial(services.rename_room, room_id=room.pk, name="\n", by=alice)) == ErrorCode.INVALID
    for _ in range(2):
        assert services.rename_room(room_id=room.pk, name=" New ", by=alice).name == "New"
    assert [event[1:] for event in events_of(room)][-2:] == [
        ("chat.room.updated.v1", "chat.room.created", str(room.pk)),
        ("chat.notice.created.v1", "chat.message.created", f"room.{room.pk}"),
    ]
    assert notices_of(room)[1:] == [("renamed", None, "alice")]


def test_deleting_is_told_to_the_list_and_to_every_member(alice: User, bob: User) -> None:
    """Its owner deletes, nobody else."""
    room = make_room(alice, bob)
    assert code_of(partial(services.delete_room, room_id=room.pk, by=bob)) == ErrorCode.FORBIDDEN
    pk = room.pk
    services.delete_room(room_id=pk, by=alice)
    assert changes_of(alice)[-1] == changes_of(bob)[-1] == (pk, "deleted")
    last = OutboxEvent.objects.filter(aggregate_type="room").order_by("-version").first()
    assert last is not None
    assert (last.type, last.topic, last.key) == ("chat.room.deleted.v1", "chat.room.created", str(pk))
    told = AccessChange.objects.filter(room_id=pk, reason="deleted")
    assert all(row.created_at > last.created_at for row in told)
    assert last.payload == {"id": pk, "kind": "public"}
    assert code_of(partial(services.delete_room, room_id=pk, by=alice)) == ErrorCode.NOT_FOUND


def test_two_rooms_with_the_same_members_are_deleted_at_once(alice: User) -> None:
    """Nobody waits for the other in a circle."""
    people = [make_person(f"p{number}") for number in range(6)]
    rooms = [make_room(alice, *order) for order in (people, people[::-1], people[3:] + people[:3])]
    assert at_once(partial(services.delete_room, room_id=room.pk, by=alice) for room in rooms) == [None] * 3
    assert not Room.objects.exists()


def test_programs_become_members_in_bulk_and_without_a_word(alice: User, bob: User):
    room = make_room(alice, kind="private")
    said = OutboxEvent.objects.count()
    services.add_programs(room_id=room.pk, users=[alice, bob])
    assert {member.user: member.role for member in room.memberships.all()} == {alice: "owner", bob: "member"}
    assert OutboxEvent.objects.count() == said
    assert AccessChange.objects.filter(user_id=bob.pk, room_id=room.pk, reason="added").exists()


def test_programs_enter_no_room_that_is_not_there(alice: User):
    with pytest.raises(ChatError) as refusal:
        services.add_programs(room_id=4711, users=[alice])
    assert refusal.value.code == ErrorCode.NOT_FOUND


def test_who_was_in_a_room_is_told_of_its_deletion_for_a_while(alice: User, bob: User) -> None:
    """Old rows are not searched."""
    room = make_room(alice, bob, kind="private")
    pk = room.pk
    services.delete_room(room_id=pk, by=alice)
    AccessChange.objects.filter(user_id=bob.pk).update(created_at=timezone.now() - timedelta(minutes=11))
    assert _read_members({pk}) == {(pk, alice.pk)}

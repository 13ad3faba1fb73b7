"""Block lists: what blocked people say is hidden from one person, and from nobody else."""

from functools import partial

import pytest
from django.conf import settings as project

from accounts.cache import Entry, VersionedCache
from accounts.errors import ErrorCode
from accounts.models import User
from messaging.cursor import Cursor
from messaging.history import missed, newest_page, page_after, page_around, page_before
from messaging.models import Message
from rooms import blocks
from rooms.blocks import block_person, unblock_person
from rooms.figures import last_message_key
from rooms.models import Block
from rooms.services import add_member, create_room
from tests.integration.history_support import fill_room
from tests.integration.people_support import Door, at_once, make_person, refused
from tests.integration.test_rooms_services import changes_of, code_of, make_room

pytestmark = pytest.mark.django_db(transaction=True)


def test_blocking_is_told_once_and_may_be_repeated(alice: User, bob: User) -> None:
    """So is unblocking; the other one hears nothing of it."""
    for _ in range(2):
        block_person(username="BOB", by=alice)
    assert Block.objects.names(alice.pk) == {"bob"} and Block.objects.names(bob.pk) == frozenset()
    for _ in range(2):
        unblock_person(username="bob", by=alice)
    assert changes_of(alice) == [(None, "blocks")] * 2 and changes_of(bob) == []
    assert not Block.objects.exists()


def test_blocking_twice_at_once_is_one_block(alice: User, bob: User) -> None:
    at_once([partial(block_person, username="bob", by=alice)] * 4)
    assert Block.objects.count() == 1 and changes_of(alice) == [(None, "blocks")]


def test_who_is_blocked_puts_nobody_into_rooms(alice: User, bob: User) -> None:
    """Their names would be words that one has to read."""
    room = create_room(owner=bob, name="Listen to me", kind="private")
    block_person(username="bob", by=alice)
    assert code_of(partial(add_member, room_id=room.pk, username="alice", by=bob)) == ErrorCode.FORBIDDEN
    unblock_person(username="bob", by=alice)
    assert add_member(room_id=room.pk, username="alice", by=bob).user == alice


def test_whom_nobody_can_block(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oneself, nobody, and more people than a server keeps in memory."""
    assert code_of(partial(block_person, username="alice", by=alice)) == ErrorCode.INVALID
    assert code_of(partial(block_person, username="nobody", by=alice)) == ErrorCode.NOT_FOUND
    monkeypatch.setattr(blocks, "MAX_BLOCKS", 0)
    make_person("bob")
    assert code_of(partial(block_person, username="bob", by=alice)) == ErrorCode.CONFLICT


def test_blocks_over_rest(alice: User, bob: User) -> None:
    door = Door(token_of=alice)
    assert door.call("PUT", "/me/blocks/BOB")["user"] == "bob"
    assert [block["user"] for block in door.get("/me/blocks")["items"]] == ["bob"]
    door.call("DELETE", "/me/blocks/bob")
    assert door.status == 204 and door.get("/me/blocks") == {"items": [], "next": None}
    assert refused(door, door.call("DELETE", "/me/blocks/nobody")) == (404, "not_found")


def test_the_last_message_of_a_blocked_person_is_not_shown_in_the_list(alice: User, bob: User) -> None:
    room = make_room(alice, bob)
    block_person(username="bob", by=alice)
    cache = VersionedCache(project.REDIS_URL, **project.REDIS_OPTIONS)
    cache.write([Entry(last_message_key(room.pk), 2**50, {"sender": "bob", "text": "hey"})])
    assert Door(token_of=alice).get(f"/rooms/{room.pk}")["last_message"] is None
    assert Door(token_of=bob).get(f"/rooms/{room.pk}")["last_message"]["text"] == "hey"


def test_history_is_read_without_blocked_people(alice: User, bob: User) -> None:
    """On every kind of page, and in what a resumed socket missed; a page is as full as others."""
    room = make_room(alice, bob)
    fill_room(room, 20)
    Message.objects.filter(room=room, seq__lte=15).update(sender_name="bob")
    blocked, middle, end = frozenset({"bob"}), Cursor(2, 0, 120), Cursor(2, 0, 1000)
    for page in (
        newest_page(room.pk, limit=5, stored=end, blocked=blocked),
        page_before(room.pk, end, limit=5, blocked=blocked),
        page_after(room.pk, middle, limit=5, stored=end, blocked=blocked),
        page_around(room.pk, Cursor(2, 0, 180), limit=10, stored=end, blocked=blocked),
    ):
        assert [row.seq for row in page.rows] == [16, 17, 18, 19, 20]
    found = missed(room.pk, middle, end, limit=100, size=10**6, blocked=blocked) or []
    assert [each.row.seq for each in found] == [16, 17, 18, 19, 20]
    assert len(newest_page(room.pk, limit=50, stored=end).rows) == 20

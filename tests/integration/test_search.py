"""Finding what was said, and only what one may read."""

from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from accounts.models import User
from messaging import search as search_module
from messaging.models import Message
from rooms.blocks import block_person
from rooms.moderation import ban_person
from rooms.services import add_member, create_room, remove_member
from tests.integration.people_support import Door, make_person, refused
from tests.integration.test_changes import Log

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def log(alice: User) -> Log:
    return Log(create_room(owner=alice, name="Room", kind="public"))


def find(user: User, q: str, **query: Any) -> list[str]:
    """The texts, the newest first."""
    answer = Door(token_of=user).get("/search", q=q, **query)
    return [item["text"] for item in answer["items"]]


def test_the_newest_messages_with_all_the_words_come_first_and_pages_follow_each_other(log: Log, alice: User):
    """Each once; an item is the message's frame with the places of the words."""
    for number in range(5):
        log.say(alice, f"Hello world {number}")
    log.say(alice, "hello moon")
    log.store()
    door, texts, after = Door(token_of=alice), [], None
    while True:
        page = door.get("/search", q="WORLD hello", limit=2, **({"after": after} if after else {}))
        texts += [item["text"] for item in page["items"]]
        after = page["next"]
        if after is None:
            break
    assert texts == [f"Hello world {number}" for number in (4, 3, 2, 1, 0)]
    item = page["items"][0]
    assert item["highlights"] == [[0, 5], [6, 11]]
    assert item["type"] == "message" and item["room"] == log.room.pk and item["sender"] == "alice"


@pytest.mark.parametrize(
    ("said", "query", "found"),
    [
        ("오늘 회의는 세 시입니다", "회의", True),
        ("東京タワーへ行く", "タワー", True),
        ("東京タワーへ行く", "塔", False),
        # All its pairs are there, but not in a row.
        ("東京京都", "東京都", False),
        ("สวัสดีครับ", "สวัสดี", True),
        ("水", "水", True),
        ("地下水", "水", True),
    ],
)
def test_languages_without_spaces_are_searched_by_any_part(log: Log, alice: User, said: str, query: str, found: bool):
    """From one character on."""
    log.say(alice, said)
    log.store()
    assert find(alice, query) == ([said] if found else [])


@pytest.mark.parametrize("recent", [1, 3, 10_000])
def test_what_is_recent_and_what_is_old_are_one_list(
    log: Log, alice: User, monkeypatch: pytest.MonkeyPatch, recent: int
):
    """Wherever the index takes over."""
    monkeypatch.setattr(search_module, "RECENT", recent)
    for number in range(6):
        log.say(alice, f"word {number}")
    log.store()
    door = Door(token_of=alice)
    first = door.get("/search", q="word", limit=4)
    assert [item["text"] for item in first["items"]] == ["word 5", "word 4", "word 3", "word 2"]
    second = door.get("/search", q="word", limit=4, after=first["next"])
    assert [item["text"] for item in second["items"]] == ["word 1", "word 0"]
    assert second["next"] is None
    monkeypatch.setattr(search_module, "MAX_PLACES", -1)
    assert len(find(alice, "word")) == 6


def test_an_edited_message_is_found_under_its_new_text_and_a_deleted_one_never(log: Log, alice: User):
    """At once, as storage applies the change."""
    first, second = log.say(alice, "apples and pears"), log.say(alice, "apples and plums")
    log.store()
    log.edit(first, alice, "cherries")
    log.delete(second, alice)
    log.store()
    assert find(alice, "apples") == [] and find(alice, "plums") == []
    assert find(alice, "cherries") == ["cherries"]


def test_only_what_one_may_read_is_found(alice: User):
    """Public rooms, and private ones as long as one is a member; another room's name is not even told of."""
    bob = make_person("bob")
    room, private = (create_room(owner=alice, name=kind, kind=kind) for kind in ("public", "private"))
    log = Log(room)
    log.say(alice, "secret of all")
    log.store()
    within = Log(private)
    within.storage, within.offset = log.storage, log.offset
    within.say(alice, "secret of few")
    within.store()
    assert find(bob, "secret") == ["secret of all"]
    assert find(alice, "secret") == ["secret of few", "secret of all"]
    assert find(alice, "secret", room=private.pk) == ["secret of few"]
    door = Door(token_of=bob)
    assert refused(door, door.get("/search", q="secret", room=private.pk)) == (404, "not_found")
    add_member(room_id=private.pk, username="bob", by=alice)
    assert find(bob, "secret", room=private.pk) == ["secret of few"]
    remove_member(room_id=private.pk, username="bob", by=alice)
    assert find(bob, "secret") == ["secret of all"]
    anybody = Door()
    assert refused(anybody, anybody.get("/search", q="secret")) == (401, "unauthenticated")


def test_the_banned_find_nothing_and_nobody_finds_whom_one_blocks(log: Log, alice: User):
    """As in the history."""
    bob, eve = make_person("bob"), make_person("eve")
    for person in (alice, bob, eve):
        log.say(person, f"word of {person}")
    log.store()
    block_person(username="eve", by=bob)
    assert find(bob, "word") == ["word of bob", "word of alice"]
    assert find(alice, "word") == ["word of eve", "word of bob", "word of alice"]
    ban_person(room_id=log.room.pk, username="bob", by=alice)
    assert find(bob, "word") == []
    door = Door(token_of=bob)
    assert refused(door, door.get("/search", q="word", room=log.room.pk)) == (403, "banned")


@pytest.mark.parametrize(
    "query",
    [
        {}, {"q": ""}, {"q": "a"}, {"q": "!?"}, {"q": "x" * 201}, {"q": "\0"}, {"q": "word", "limit": 0},
        {"q": "word", "limit": 201}, {"q": "word", "after": "?"}, {"q": "word", "room": 0},
        {"q": "word", "room": 10**30}, {"q": "word", "room": "x"},
    ],
)  # fmt: skip
def test_a_bad_search_is_invalid(alice: User, query: dict[str, Any]):
    """And says what is wrong."""
    door = Door(token_of=alice)
    answer = door.get("/search", **query)
    assert refused(door, answer) == (400, "invalid")
    assert answer["detail"]


@pytest.mark.parametrize("query", ["'; SELECT 1; --", "word & | ! ( <-> :* '", "\\'x\\ word", "%s %(a)s word {} $1"])
def test_signs_of_postgresql_mean_nothing(log: Log, alice: User, query: str):
    """No query makes an error."""
    door = Door(token_of=alice)
    assert door.get("/search", q=query)["items"] == []


def test_a_search_that_takes_too_long_says_so(log: Log, alice: User, monkeypatch: pytest.MonkeyPatch):
    """And the connection serves on with its own time limit."""
    log.say(alice, "word")
    log.store()
    monkeypatch.setattr(search_module, "TIME_LIMIT", 1)
    with connection.cursor() as cursor:
        # A room's row that somebody locks does not hold up reading; a slow function does.
        cursor.execute("CREATE FUNCTION slow(text) RETURNS text LANGUAGE sql AS 'SELECT $1 FROM pg_sleep(0.2)'")
        cursor.execute("ALTER TABLE messaging_message RENAME TO messaging_message_real")
        cursor.execute("CREATE VIEW messaging_message AS SELECT * FROM messaging_message_real WHERE slow(text) <> ''")
    try:
        door = Door(token_of=alice)
        answer = door.get("/search", q="word")
        assert refused(door, answer) == (503, "unavailable")
        assert "rarer word" in answer["detail"]
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP VIEW messaging_message")
            cursor.execute("ALTER TABLE messaging_message_real RENAME TO messaging_message")
            cursor.execute("DROP FUNCTION slow(text)")
    monkeypatch.undo()
    assert find(alice, "word") == ["word"]


def test_messages_of_before_the_search_are_indexed_by_command(log: Log, alice: User):
    """All of them, and a second call finds nothing to do."""
    for number in range(3):
        log.say(alice, f"old message {number}")
    log.store()
    Message.objects.update(words=None)
    assert find(alice, "old") == []
    call_command("index_messages")
    assert find(alice, "old message", limit=1) == ["old message 2"]
    assert len(find(alice, "old")) == 3
    assert not Message.objects.filter(words=None).exists()


def test_a_text_of_only_signs_and_one_of_the_greatest_length_are_stored(log: Log, alice: User):
    """Whatever its words are."""
    for text in ("😀", "x" * 4000, "".join(chr(0x4E00 + number) for number in range(4000)), "\ufdfa" * 4000):
        log.say(alice, text)
    log.store()
    assert Message.objects.count() == 4
    assert len(find(alice, "x" * 150)) == 1
    assert len(find(alice, chr(0x4E05) + chr(0x4E06))) == 1

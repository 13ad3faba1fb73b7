"""What followers of the room list are told, and who of them."""

import json
from typing import Any
from uuid import uuid4

import pytest

from events.envelope import Envelope
from events.schemas import EventType
from kafka_layer import Batch, Position, Record
from kafka_layer.codec import CODECS
from messaging import unread
from messaging.access import AccessCache
from messaging.activity import ACTIVITY, read_envelopes
from messaging.protocol import Text
from messaging.unread import Follower, UnreadFeed
from rooms.models import ReadMark

ALICE, BOB, ROOM, OTHER = 1, 2, 12, 13


class Wire:
    """A socket of which only the writing is looked at."""

    def __init__(self) -> None:
        self.texts: list[Text] = []
        self.is_behind = False

    def post_texts(self, texts: list[Text]) -> None:
        self.texts += texts

    @property
    def frames(self) -> list[tuple[int, int, str | None]]:
        """(room, count, text of the last message) of each frame."""
        frames = [json.loads(text.text) for text in self.texts]
        return [(frame["room"], frame["count"], frame.get("last_message", {}).get("text")) for frame in frames]


class Feed(UnreadFeed):
    """A feed whose PostgreSQL is a list: (user, room, mark, last_seq)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *rows: tuple[int, int, int, int]) -> None:
        super().__init__(None, AccessCache())
        self.rows = list(rows)
        monkeypatch.setattr(unread, "_read_marks", lambda users: [row for row in self.rows if row[0] in users])

    async def join(self, user: int, *sees: int) -> Wire:
        wire = Wire()
        self.follow(Follower(user, set(sees), wire))  # type: ignore[arg-type]
        await self._load()
        return wire

    def hear(self, *envelopes: Envelope) -> None:
        codec = CODECS["json"]
        records = [
            Record(
                position=Position("t", 0, n), group=ACTIVITY, value=each.encode(), codec=codec, headers=[],
                timestamp_ms=0, arrived=0.0,
            )
            for n, each in enumerate(envelopes)
        ]  # fmt: skip
        self._take(Batch(ACTIVITY, tuple(records), len(records)))


def said(room: int, seq: int, version: int | None = None) -> Envelope:
    data: dict[str, Any] = {
        "room": room,
        "seq": seq,
        "last_message": {"type": "message", "sender": "eve", "text": f"text {seq}"},
    }
    return Envelope(
        id=str(uuid4()), type=EventType.ROOM_ACTIVITY.value, subject=f"room/{room}", time="2026-11-23T10:00:00.000Z",
        version=version or seq, data=data,
    )  # fmt: skip


def read(user: int, room: int, seq: int) -> Envelope:
    return read_envelopes([ReadMark(user, room, seq)])[0]


async def test_members_who_do_not_see_the_room_are_told_how_much_is_unread(monkeypatch: pytest.MonkeyPatch):
    """Each by the own mark; who stand at the same place share one text."""
    feed = Feed(monkeypatch, (ALICE, ROOM, 3, 4), (BOB, ROOM, 4, 4))
    alice, phone, seeing, bob = [await feed.join(*who) for who in ((ALICE,), (ALICE,), (ALICE, ROOM), (BOB,))]
    feed.hear(said(ROOM, 6), said(OTHER, 9))
    assert alice.frames == phone.frames == [(ROOM, 3, "text 6")]
    assert alice.texts[0] is phone.texts[0]
    assert bob.frames == [(ROOM, 2, "text 6")]
    assert seeing.frames == []


async def test_a_mark_moves_on_every_socket_and_never_back(monkeypatch: pytest.MonkeyPatch):
    """Marks of strangers and of rooms that are not followed say nothing."""
    feed = Feed(monkeypatch, (ALICE, ROOM, 3, 6))
    alice = await feed.join(ALICE)
    feed.hear(read(ALICE, ROOM, 5), read(ALICE, ROOM, 4), read(BOB, ROOM, 6), read(ALICE, OTHER, 1))
    assert alice.frames == [(ROOM, 1, None)]


async def test_what_a_blocked_person_says_is_counted_and_not_shown(monkeypatch: pytest.MonkeyPatch):
    """As in the room list; and blocking somebody takes no right away."""
    feed = Feed(monkeypatch, (ALICE, ROOM, 0, 0), (BOB, ROOM, 0, 0))
    alice, bob = await feed.join(ALICE), await feed.join(BOB)
    feed._access._blocks[ALICE] = frozenset({"eve"})
    feed._access.invalidate(ALICE, None, "blocks")
    feed.hear(said(ROOM, 1))
    assert alice.frames == [(ROOM, 1, None)]
    assert bob.frames == [(ROOM, 1, "text 1")]


async def test_a_late_word_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    """And an edit of the last message is a newer word about the same number."""
    feed = Feed(monkeypatch, (ALICE, ROOM, 0, 0))
    alice = await feed.join(ALICE)
    feed.hear(
        said(ROOM, 2, version=20), said(ROOM, 1, version=10), said(ROOM, 2, version=20), said(ROOM, 2, version=30)
    )
    assert [count for _, count, _ in alice.frames] == [2, 2]


async def test_a_slow_socket_is_told_later_how_things_stand_then(monkeypatch: pytest.MonkeyPatch):
    """Nothing piles up for it meanwhile."""
    feed = Feed(monkeypatch, (ALICE, ROOM, 0, 0), (ALICE, OTHER, 0, 0))
    alice = await feed.join(ALICE)
    alice.is_behind = True
    feed.hear(*(said(ROOM, seq) for seq in range(1, 100)))
    feed._tell_late()
    assert alice.texts == []
    alice.is_behind = False
    feed._tell_late()
    feed._tell_late()
    assert alice.frames == [(ROOM, 99, "text 99")]


async def test_who_loses_a_right_is_told_nothing_more_and_who_gets_one_is(monkeypatch: pytest.MonkeyPatch):
    """At once, before anything is read again."""
    feed = Feed(monkeypatch, (ALICE, ROOM, 0, 0))
    alice = await feed.join(ALICE)
    feed._access.invalidate(ALICE, ROOM, "kicked")
    feed.hear(said(ROOM, 1))
    feed.rows.clear()
    await feed._load()
    feed.hear(said(ROOM, 2))
    assert alice.frames == []
    feed._access.invalidate(ALICE, ROOM, "added")
    feed.rows.append((ALICE, ROOM, 2, 2))
    await feed._load()
    feed.hear(said(ROOM, 3))
    assert alice.frames[-1] == (ROOM, 1, "text 3")


async def test_what_was_told_while_a_person_was_loaded_is_told_after_it(monkeypatch: pytest.MonkeyPatch):
    """The list that the person reads meanwhile may be older."""
    feed = Feed(monkeypatch, (ALICE, ROOM, 0, 1))
    wire = Wire()
    feed.follow(Follower(ALICE, set(), wire))  # type: ignore[arg-type]
    feed.hear(said(ROOM, 1))
    await feed._load()
    feed._tell_late()
    assert wire.frames == [(ROOM, 1, "text 1")]


async def test_what_is_stored_counts_when_it_is_told(monkeypatch: pytest.MonkeyPatch):
    """Rows may be read before: the count and the last message are of the same moment."""
    feed = Feed(monkeypatch, (ALICE, ROOM, 0, 3))
    wire = Wire()
    feed.follow(Follower(ALICE, set(), wire))  # type: ignore[arg-type]
    feed.hear(said(ROOM, 1))
    await feed._load()
    feed._tell_late()
    feed.hear(said(ROOM, 3))
    assert wire.frames == [(ROOM, 1, "text 1"), (ROOM, 3, "text 3")]
    feed = Feed(monkeypatch, (ALICE, ROOM, 1, 3))
    author = await feed.join(ALICE)
    feed.hear(said(ROOM, 1), read(ALICE, ROOM, 3), said(ROOM, 3))
    assert {count for _, count, _ in author.frames} == {0}


async def test_what_was_missed_is_read_from_the_rows(monkeypatch: pytest.MonkeyPatch):
    """After a gap nothing that was told before counts as the newest."""
    feed = Feed(monkeypatch, (ALICE, ROOM, 0, 1))
    alice = await feed.join(ALICE)
    feed.hear(said(ROOM, 1))
    feed._begin_anew()
    feed.rows[0] = (ALICE, ROOM, 0, 4)
    await feed._load()
    feed._tell_late()
    assert alice.frames == [(ROOM, 1, "text 1"), (ROOM, 4, None)]


async def test_nothing_is_kept_of_who_is_gone(monkeypatch: pytest.MonkeyPatch):
    """With the last socket all of it goes, and what is known of rooms is bounded."""
    monkeypatch.setattr(unread, "MAX_KEPT", 3)
    feed = Feed(monkeypatch, (ALICE, ROOM, 0, 0))
    followers = [Follower(ALICE, set(), Wire()) for _ in range(2)]  # type: ignore[arg-type]
    for follower in followers:
        feed.follow(follower)
    await feed._load()
    feed.hear(*(said(room, 1) for room in range(1, 10)))
    assert len(feed._newest) == 3
    for follower in (*followers, *followers):
        feed.unfollow(follower)
    assert not (feed._people or feed._members or feed._seqs or feed._stale or feed._late or feed._access._listeners)
    feed.hear(said(ROOM, 2))


async def test_what_was_said_long_ago_is_not_shown_again(monkeypatch: pytest.MonkeyPatch):
    """It may have been deleted, purged or erased since; the count moves all the same."""
    feed = Feed(monkeypatch, (ALICE, ROOM, 0, 0))
    alice = await feed.join(ALICE)
    feed.hear(said(ROOM, 2))
    monkeypatch.setattr(unread, "KEPT_FOR", 0.0)
    feed._drop_old()
    feed.hear(read(ALICE, ROOM, 1))
    assert alice.frames == [(ROOM, 2, "text 2"), (ROOM, 1, None)]

"""Edits and deletions as storage applies them, and what a resume from rows makes of them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import monotonic
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock
from uuid import UUID, uuid4

import pytest
from django.conf import settings
from django.db import connection
from redis import Redis

from accounts.cache import VersionedCache
from accounts.errors import ChatError, ErrorCode
from accounts.models import AccessChange, User
from events.consumer import ReceivedRecord
from events.envelope import Envelope, time_text
from events.schemas import EventType
from events.topics import Topic
from messaging import history
from messaging.cursor import Cursor
from messaging.database import in_database
from messaging.editing import change_message, find_target
from messaging.frames import frame_of_missed, frame_of_row
from messaging.last_message import LastMessage, LastMessages, newest_messages
from messaging.models import Message
from messaging.protocol import ChangeFrame, SendFrame
from messaging.sending import send_message
from messaging.single_flight import SingleFlight
from messaging.storage import MessageStorage
from rooms.figures import RoomFigures, last_message_key
from rooms.models import Membership, ModerationEntry, Room
from rooms.services import create_room, join_room
from tests.integration.people_support import make_person

pytestmark = pytest.mark.django_db(transaction=True)

EPOCH = 3
NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)


class Log:
    """A room's log and its storage: each call is one record; `store` stores all that are not stored yet, in one
    batch."""

    def __init__(self, room: Room, **options: Any) -> None:
        self.room = room
        self.storage = MessageStorage(epoch=EPOCH, on_stored=options.get("on_stored", lambda *_: None))
        self.storage.start_offset(0)
        self.offset = -1
        self.time = datetime.now(UTC)
        self._waiting: list[ReceivedRecord] = []

    def say(self, by: User, text: str, *, id: str | None = None) -> str:
        data = {"sender": by.username, "sender_id": by.pk, "text": text, "reply_to": None}
        return self._add(EventType.MESSAGE_CREATED, data, id=id)

    def edit(self, message: str, by: User, text: str, *, id: str | None = None) -> str:
        data = {"message": message, "text": text, "by": by.username, "by_id": by.pk}
        return self._add(EventType.MESSAGE_EDITED, data, id=id)

    def delete(self, message: str, by: User) -> str:
        return self._add(EventType.MESSAGE_DELETED, {"message": message, "by": by.username, "by_id": by.pk})

    def store(self) -> None:
        self.storage.store(self._waiting)
        self._waiting = []

    def row(self, message: str) -> Message:
        return Message.objects.get(room=self.room, uid=message)

    def _add(self, type: EventType, data: dict[str, Any], *, id: str | None = None) -> str:
        self.offset += 1
        envelope = Envelope(
            id=id or str(uuid4()), type=type.value, subject=f"room/{self.room.pk}", time=time_text(self.time),
            data={"room": self.room.pk, **data},
        )  # fmt: skip
        milliseconds = int(self.time.timestamp() * 1000)
        record = ReceivedRecord(
            Topic.MESSAGE_CREATED, 0, self.offset, f"room.{self.room.pk}", envelope.encode(), {}, milliseconds
        )
        self._waiting.append(record)
        return envelope.id


@pytest.fixture
def log(alice: User, bob: User) -> Log:
    """Of Alice's room, where Bob is a member."""
    room = create_room(owner=alice, name="Lobby", kind="public")
    join_room(room_id=room.pk, user=bob)
    return Log(room)


def test_a_row_keeps_the_final_text_who_changed_it_and_when(log: Log, bob: User):
    log.time = NOW
    message = log.say(bob, "one")
    log.edit(message, bob, "two")
    log.edit(message, bob, "three")
    log.store()
    row = log.row(message)
    assert (row.text, row.edited_by, row.edited_at, row.changed) == ("three", "bob", NOW, Cursor(EPOCH, 0, 2))
    assert (row.cursor, row.seq) == (Cursor(EPOCH, 0, 0), 1)
    frame = frame_of_row(row)
    assert (frame["text"], frame["edited"], frame["edited_by"], frame["edited_at"]) == (
        "three", True, "bob", "2026-11-23T10:00:00.000Z"
    )  # fmt: skip


def test_a_deleted_text_is_gone(log: Log, bob: User):
    log.time = NOW
    message = log.say(bob, "a secret")
    log.edit(message, bob, "the same secret")
    log.store()
    log.delete(message, bob)
    log.store()
    with connection.cursor() as cursor:
        cursor.execute("SELECT m::text FROM messaging_message m WHERE uid = %s", [message])
        assert "secret" not in cursor.fetchone()[0]
    frame = frame_of_row(log.row(message))
    assert "text" not in frame
    assert (frame["deleted"], frame["deleted_by"], frame["deleted_at"]) == (True, "bob", "2026-11-23T10:00:00.000Z")


def test_a_change_counts_nothing_and_moves_nothing(log: Log, bob: User):
    """Unread counts by seq, and history by the place of the message."""
    messages = [log.say(bob, str(n)) for n in range(3)]
    log.edit(messages[0], bob, "zero")
    log.delete(messages[1], bob)
    log.store()
    log.room.refresh_from_db()
    assert log.room.last_seq == 3
    rows = history.newest_page(log.room.pk, limit=10, stored=Cursor(EPOCH, 0, 4)).rows
    assert [(row.text, row.seq) for row in rows] == [("zero", 1), ("", 2), ("2", 3)]


@pytest.mark.parametrize("together", [True, False])
def test_changes_take_effect_in_the_order_of_the_log(log: Log, bob: User, together: bool):
    """Whether their records come in one batch or in several."""
    step: Callable[[], None] = (lambda: None) if together else log.store
    first, second = log.say(bob, "a"), log.say(bob, "b")
    step()
    log.edit(first, bob, "a1")
    step()
    log.edit(second, bob, "b1")
    log.delete(first, bob)
    step()
    log.edit(second, bob, "b2")
    log.edit(first, bob, "a2")
    log.store()
    assert [log.row(message).text for message in (first, second)] == ["", "b2"]


def test_somebody_else_s_edit_changes_nothing(log: Log, alice: User, bob: User):
    """Not the owner's either; what stands around it is stored."""
    message = log.say(bob, "mine")
    log.edit(message, alice, "yours")
    later = log.say(alice, "later")
    log.store()
    assert (log.row(message).text, log.row(message).edited_at) == ("mine", None)
    assert log.row(later).text == "later"


@pytest.mark.parametrize(("role", "kind", "gone"), [
    ("owner", "public", True), ("moderator", "private", True), ("member", "public", False), ("owner", "direct", False),
])  # fmt: skip
def test_who_moderates_may_delete_and_in_a_direct_room_nobody_does(
    log: Log, bob: User, role: str, kind: str, gone: bool
):
    carol = make_person("carol")
    log.room.memberships.all().delete()
    Room.objects.filter(pk=log.room.pk).update(kind=kind)
    Membership.objects.create(room=log.room, user=carol, role=role)
    message = log.say(bob, "rude")
    log.delete(message, carol)
    log.store()
    assert (log.row(message).text == "", log.row(message).deleted_by) == (gone, "carol" if gone else "")
    entries = ModerationEntry.objects.values_list("action", "actor", "subject", "room", "message")
    assert list(entries) == [("delete_message", "carol", "bob", log.room.pk, UUID(message))] * gone


def test_only_what_is_somebody_elses_makes_an_entry_in_the_moderation_log(log: Log, bob: User):
    """Also when it is deleted twice, it makes one."""
    mine, his = log.say(bob, "mine"), log.say(bob, "his")
    log.delete(mine, bob)
    log.delete(his, log.room.owner)
    log.store()
    log.delete(his, log.room.owner)
    log.store()
    assert list(ModerationEntry.objects.values_list("message", flat=True)) == [UUID(his)]


def test_a_deletion_counts_when_the_right_was_lost_only_after_it(log: Log, bob: User):
    """Its room has seen it already, however late storage comes."""
    carol = make_person("carol")
    message, other = log.say(bob, "rude"), log.say(bob, "ruder")
    log.delete(message, carol)
    log.time += timedelta(minutes=10)
    log.delete(other, carol)
    change = AccessChange.objects.create(user_id=carol.pk, room_id=log.room.pk, reason="role")
    AccessChange.objects.filter(pk=change.pk).update(created_at=log.time - timedelta(minutes=5))
    log.store()
    assert [log.row(id).text for id in (message, other)] == ["", "ruder"]


def test_a_change_of_what_does_not_exist_or_comes_later_is_passed_over(log: Log, bob: User):
    id = str(uuid4())
    log.edit(id, bob, "before it was said")
    log.edit(str(uuid4()), bob, "never said")
    log.say(bob, "said", id=id)
    log.store()
    assert log.row(id).text == "said"


def test_a_change_in_one_room_reaches_no_message_of_another(log: Log, bob: User):
    other = Log(create_room(owner=bob, name="Other", kind="public"))
    message = other.say(bob, "there")
    other.store()
    log.offset = other.offset
    log.storage.start_offset(0)
    log.edit(message, bob, "here")
    log.store()
    assert other.row(message).text == "there"


class ForgedRing:
    """A log as a process has it whose memory holds a late repeat of a message's id by somebody else."""

    epoch = EPOCH

    def __init__(self, room: Room, *, id: str, by: User) -> None:
        self.layer = self
        self.flights = SingleFlight()
        self._id = id
        self._envelope = {"type": EventType.MESSAGE_CREATED.value, "data": {"sender_id": by.pk, "room": room.pk}}

    def find(self, group: str, id: str) -> Any:
        return SimpleNamespace(message=self._envelope, position=self.end(group)) if id == self._id else None

    def end(self, group: str) -> Any:
        return SimpleNamespace(offset=0)

    def oldest(self, group: str) -> Any:
        return SimpleNamespace(offset=0)

    def partition(self, room: int) -> int:
        return 0


async def test_the_row_tells_whose_a_message_is_and_not_the_memory_of_a_process(log: Log, alice: User, bob: User):
    """Who says something under another's old id must not become its author."""
    message = await in_database(log.say)(bob, "true")
    await in_database(log.store)()
    forged: Any = ForgedRing(log.room, id=message, by=alice)
    change = ChangeFrame("1", log.room.pk, message, "forged")
    target = await find_target(forged, change)
    with pytest.raises(ChatError) as caught:
        await change_message(forged, change, target, user=alice.pk, username="alice", moderates=True)
    assert caught.value.code == ErrorCode.FORBIDDEN


async def test_a_resend_of_a_message_that_was_edited_meanwhile_is_the_same_message(log: Log, bob: User):
    """Nobody knows its first text any more, and a conflict would be wrong."""
    message = await in_database(log.say)(bob, "one")
    await in_database(log.edit)(message, bob, "two")
    await in_database(log.store)()
    forgetful: Any = ForgedRing(log.room, id="", by=bob)
    resend = SendFrame(id=message, room=log.room.pk, text="one", reply_to=None, retry=True)
    assert await send_message(forgetful, resend, user=bob.pk, username="bob", may_speak=AsyncMock()) == Cursor(
        EPOCH, 0, 0
    )


async def test_a_resend_is_told_by_the_row_when_somebody_else_has_used_its_id_since(log: Log, alice: User, bob: User):
    """Its author learns that it was said, and nobody else makes it a message of their own."""
    message = await in_database(log.say)(bob, "true")
    await in_database(log.store)()
    forged: Any = ForgedRing(log.room, id=message, by=alice)
    resend = SendFrame(id=message, room=log.room.pk, text="true", reply_to=None, retry=True)
    assert await send_message(forged, resend, user=bob.pk, username="bob", may_speak=AsyncMock()) == Cursor(EPOCH, 0, 0)
    with pytest.raises(ChatError) as caught:
        await send_message(forged, resend, user=alice.pk, username="alice", may_speak=AsyncMock())
    assert caught.value.code == ErrorCode.CONFLICT


async def test_a_resend_of_what_kafka_took_meanwhile_is_answered_with_the_first_cursor(log: Log, bob: User):
    """Else its author would have it at another place than everybody else."""
    resend = SendFrame(id=str(uuid4()), room=log.room.pk, text="one", reply_to=None, retry=True)

    class Late(ForgedRing):
        """Where the first one comes into the log between the look and the resend."""

        def end(self, group: str) -> Any:
            return SimpleNamespace(offset=-1)

        def cursor(self, position: int) -> Cursor:
            return Cursor(EPOCH, 0, position)

        async def publish(self, group: str, envelope: object, *, id: str) -> int:
            for _ in ("first", "again"):
                await in_database(log.say)(bob, "one", id=id)
            await in_database(log.store)()
            return log.offset

    late: Any = Late(log.room, id="", by=bob)
    cursor = await send_message(late, resend, user=bob.pk, username="bob", may_speak=AsyncMock())
    assert (log.offset, cursor) == (1, Cursor(EPOCH, 0, 0))


def test_a_repeated_edit_does_not_undo_a_later_one(log: Log, bob: User):
    message = log.say(bob, "one")
    edit = log.edit(message, bob, "two")
    log.edit(message, bob, "three")
    log.edit(message, bob, "two", id=edit)
    log.store()
    assert log.row(message).text == "three"
    log.edit(message, bob, "two", id=edit)
    log.store()
    assert log.row(message).text == "three"


def test_a_resume_merges_what_was_said_and_what_was_changed_in_the_log_s_order(log: Log, bob: User):
    """Changes of older messages, of newer ones, and the last of several alone."""
    old = [log.say(bob, f"old {n}") for n in range(3)]
    seen = Cursor(EPOCH, 0, log.offset)
    new = log.say(bob, "new")  # 3
    log.edit(old[0], bob, "edited once")  # 4: the next one stands for it
    log.delete(old[1], bob)  # 5
    log.edit(new, bob, "newer")  # 6
    log.edit(old[0], bob, "edited twice")  # 7
    last = log.say(bob, "last")  # 8
    log.store()
    missed = history.missed(log.room.pk, seen, Cursor(EPOCH, 0, 8), limit=100, size=1000)
    frames = [frame_of_missed(item) for item in missed or ()]
    assert [
        (frame["type"], frame.get("message") or frame["id"], frame.get("text"), frame["cursor"]) for frame in frames
    ] == [
        ("message", new, "newer", "3-0-3"),
        ("deleted", old[1], None, "3-0-5"),
        ("edited", new, "newer", "3-0-6"),
        ("edited", old[0], "edited twice", "3-0-7"),
        ("message", last, "last", "3-0-8"),
    ]


def test_a_resume_takes_nothing_from_behind_the_place_up_to_which_it_reads(log: Log, bob: User):
    """The ring brings that, and twice would be once too often."""
    old = log.say(bob, "old")
    log.edit(old, bob, "edited")
    log.edit(old, bob, "edited again")
    log.say(bob, "new")
    log.store()
    assert history.missed(log.room.pk, Cursor(EPOCH, 0, 0), Cursor(EPOCH, 0, 1), limit=100, size=1000) == []


def test_more_than_may_be_resumed_is_not_read(log: Log, bob: User):
    """Changes are counted too, and bytes instead of characters."""
    messages = [log.say(bob, str(n)) for n in range(5)]
    for message in messages:
        log.edit(message, bob, "한")
    log.store()
    asked = log.room.pk, Cursor(EPOCH, 0, -1), Cursor(EPOCH, 0, 99)
    found = history.missed(*asked, limit=10, size=30)
    assert found is not None and len(found) == 10
    assert history.missed(*asked, limit=9, size=30) is None
    assert history.missed(*asked, limit=10, size=29) is None


def test_the_room_list_s_last_message_follows_its_changes(log: Log, alice: User, bob: User):
    cache = VersionedCache(settings.REDIS_URL, **settings.REDIS_OPTIONS)
    figures = RoomFigures(settings.REDIS_URL, **settings.REDIS_OPTIONS)
    with Redis.from_url(settings.REDIS_URL) as redis:
        # Redis outlives the test database, in which a room of an earlier run had this number.
        redis.delete(last_message_key(log.room.pk))
    last_messages = LastMessages(cache)
    log.storage.on_stored = lambda *stored: last_messages.write(newest_messages(*stored))

    def last() -> dict[str, Any]:
        return figures.read([log.room.pk])[log.room.pk].last_message or {}

    first, second = log.say(bob, "first"), log.say(bob, "second")
    log.store()
    log.edit(first, bob, "not the last")
    log.store()
    assert last()["text"] == "second"
    log.edit(second, bob, "edited")
    log.store()
    assert (last()["text"], last()["edited"]) == ("edited", True)
    third = log.say(bob, "third")
    log.edit(third, bob, "in the same batch")
    log.store()
    assert last()["text"] == "in the same batch"
    log.delete(third, alice)
    log.store()
    assert "text" not in last() and last()["deleted_by"] == "alice"
    log.say(bob, "fourth")
    log.store()
    assert last()["text"] == "fourth"
    figures.close()


def test_what_redis_missed_is_made_good_when_it_is_back(log: Log, bob: User, monkeypatch: pytest.MonkeyPatch):
    """A deleted text must not stand in the room list until somebody speaks in that room again."""
    cache = VersionedCache(settings.REDIS_URL, **settings.REDIS_OPTIONS)
    figures = RoomFigures(settings.REDIS_URL, **settings.REDIS_OPTIONS)
    with Redis.from_url(settings.REDIS_URL) as redis:
        redis.delete(last_message_key(log.room.pk))
    last_messages = LastMessages(cache)
    log.storage.on_stored = lambda *stored: last_messages.write(newest_messages(*stored))
    said = log.say(bob, "a secret")
    log.store()
    cache._rest_until = monotonic() + 60  # as after a call that failed
    log.delete(said, bob)
    log.store()
    assert figures.read([log.room.pk])[log.room.pk].last_message["text"] == "a secret"  # type: ignore[index]
    cache._rest_until = 0.0
    elsewhere = LastMessage(1, 1, {"text": "in another room"})
    last_messages.write({2**40: elsewhere})
    assert "text" not in (figures.read([log.room.pk])[log.room.pk].last_message or {})
    figures.close()

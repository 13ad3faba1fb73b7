"""Forgetting a person."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import orjson
import pytest
from confluent_kafka import KafkaException
from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from accounts import services
from accounts.cache import Entry, VersionedCache, user_key
from accounts.errors import ChatError, ErrorCode
from accounts.models import AccessChange, Erasure, User, retired_key
from accounts.services import begin_erasure, record_access_rows, set_email, user_state
from events.models import ConsumedOffset, DeadLetterDecision
from events.topics import Topic
from messaging.erasure import Eraser
from messaging.frames import frame_of_row
from messaging.last_message import LastMessages
from messaging.log import LogWatch
from messaging.models import Message
from messaging.reports import report_message
from outbox.models import OutboxEvent
from rooms import moderation
from rooms.blocks import block_person
from rooms.direct import open_direct_room
from rooms.figures import RoomFigures
from rooms.models import Block, Membership, ModerationEntry, Room
from rooms.rights import find_person
from rooms.services import create_room, join_room
from tests.integration.history_support import fill_room
from tests.integration.people_support import PASSWORD, Door, make_person, refused

pytestmark = pytest.mark.django_db(transaction=True)
# No other row of a test has such a word.
NAME = "Mallory.77"


@pytest.fixture
def cache() -> VersionedCache:
    return VersionedCache(settings.REDIS_URL, **settings.REDIS_OPTIONS)


@pytest.fixture
def log() -> LogWatch:
    return LogWatch(settings.KAFKA_BOOTSTRAP_SERVERS)


@pytest.fixture
def eraser(cache: VersionedCache, log: LogWatch) -> Eraser:
    """One that need not wait."""
    return Eraser(cache, log, settings.KAFKA_BOOTSTRAP_SERVERS, settled=timedelta(0), batch=10)


@pytest.fixture
def mallory() -> User:
    user = make_person(NAME)
    set_email(user=user, email=f"{NAME}@example.org")
    return user


@pytest.fixture
def garden(mallory: User) -> Room:
    """A room of somebody else's in which Mallory is."""
    room = create_room(owner=make_person("bob"), name="Garden", kind="public")
    join_room(room_id=room.pk, user=mallory)
    return room


def say(room: Room, user: User | None, text: str, **fields: Any) -> Message:
    return Message.objects.create(
        **{
            "room": room, "uid": uuid4(), "kind": "message", "epoch": 1, "partition": 0, "seq": 1,
            "offset": Message.objects.count(), "sender": user, "sender_name": user.username if user else "",
            "text": text, "time": timezone.now(), **fields,
        }
    )  # fmt: skip


def store_everything(log: LogWatch) -> None:
    """As if the event consumer had."""
    for partition, end in log.ends().items():
        ConsumedOffset.objects.update_or_create(
            topic=Topic.MESSAGE_CREATED.value, partition=partition, defaults={"next_offset": end}
        )


def erase(user: User, eraser: Eraser, log: LogWatch) -> None:
    """To its end."""
    begin_erasure(user=user)
    eraser.run()
    store_everything(log)
    eraser.run()
    assert not Erasure.objects.exists()


def places_of(word: str) -> Iterator[str]:
    """Every table and column of the database that holds a word."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
            " AND data_type IN ('text', 'character varying', 'jsonb', 'json', 'tsvector')"
        )
        for table, column in cursor.fetchall():
            cursor.execute(f'SELECT count(*) FROM "{table}" WHERE "{column}"::text ILIKE %s', [f"%{word}%"])  # noqa: S608
            if cursor.fetchone()[0]:
                yield f"{table}.{column}"


def test_a_room_named_with_the_word_keeps_its_name_in_the_admin_s_log(eraser: Eraser, log: LogWatch) -> None:
    """Whoever is called `the` is not in `the kitchen`."""
    the = make_person("the")
    kinds = ContentType.objects.get_for_models(Room, Membership)
    for kind in (Room, Membership):
        LogEntry.objects.create(
            user=the, content_type=kinds[kind], object_id="0", object_repr="the kitchen", action_flag=2
        )
    erase(the, eraser, log)
    shown = dict(LogEntry.objects.values_list("content_type__model", "object_repr"))
    assert shown == {"room": "the kitchen", "membership": f"erased-{the.pk} kitchen"}


def test_nobody_learns_what_somebody_was_called_who_was_erased() -> None:
    """By asking for the key that stands in the place of the name."""
    alice = make_person("alice")
    begin_erasure(user=alice)
    key = retired_key("alice")
    assert User.objects.filter(username_key=key).exists()
    with pytest.raises(ChatError, match="no such person"):
        find_person(key)


def test_what_changed_whose_rights_is_forgotten_after_a_day(eraser: Eraser) -> None:
    """In batches; what is younger stays."""
    for number in range(15):
        record_access_rows([User(pk=number + 1)], room_id=1, reason="deleted")
    old = AccessChange.objects.filter(user_id__lte=12)
    old.update(created_at=timezone.now() - timedelta(days=1, minutes=1))
    eraser.run()
    assert AccessChange.objects.count() == 5
    eraser.run()
    assert set(AccessChange.objects.values_list("user_id", flat=True)) == {13, 14, 15}


def test_the_name_is_nowhere_in_the_database_any_more(
    mallory: User, garden: Room, eraser: Eraser, log: LogWatch
) -> None:
    """Whatever wrote it there: rows, notices, outbox, the admin's log, decisions about dead letters."""
    other = create_room(owner=mallory, name="Shed", kind="public")
    join_room(room_id=other.pk, user=User.objects.get(username="bob"))
    say(garden, mallory, f"I am {NAME}", words=NAME, edited_by=NAME, edited_at=timezone.now(), reply_to=NAME)
    bob = User.objects.get(username="bob")
    say(garden, bob, "", deleted_by=NAME, deleted_at=timezone.now())
    for n in range(25):
        told = {
            "event": "member_removed",
            "user": NAME if n % 2 else "bob",
            "name": None,
            "by": None if n % 2 else NAME,
        }
        say(garden, None, "", kind="notice", seq=None, notice=told)
    direct = open_direct_room(username=NAME, by=bob)
    theirs = say(direct, bob, "Between us")
    mine = say(direct, mallory, "And nobody else")
    report_message(room_id=direct.pk, message=theirs.uid, by=mallory, reason=f"Ask {NAME}")
    report_message(room_id=direct.pk, message=mine.uid, by=bob, reason=f"Look at {NAME}")
    moderation.ban_person(room_id=other.pk, username="bob", by=mallory, reason="Noise")
    moderation.ban_person(room_id=garden.pk, username=NAME, by=bob, reason=f"{NAME} is loud")
    block_person(username=NAME, by=bob)
    kinds = ContentType.objects.get_for_models(User, Membership, Room, Block)
    shown = [
        (kinds[User], mallory.pk, NAME), (kinds[Membership], 1, f"{NAME} in Garden"),
        (kinds[Room], direct.pk, direct.name), (kinds[Block], 1, f"bob blocks {NAME}"),
    ]  # fmt: skip
    for kind, pk, name in shown:
        LogEntry.objects.create(user=bob, content_type=kind, object_id=str(pk), object_repr=name, action_flag=2)
    DeadLetterDecision.objects.create(
        offset=1, letter_time=timezone.now(), action="dropped", by=NAME, origin="", reason=""
    )
    assert len(list(places_of(NAME))) >= 10
    erase(mallory, eraser, log)
    assert list(places_of(NAME)) == []
    alias = f"erased-{mallory.pk}"
    assert LogEntry.objects.filter(object_repr=f"{alias} in Garden").exists()
    # What is left of it tells what was done, in whose room, and what bob has said.
    log_of_bans = ModerationEntry.objects.filter(action="ban").order_by("pk").values_list("actor", "subject", "reason")
    assert list(log_of_bans) == [(alias, "bob", "Noise"), ("bob", alias, "")]
    assert [room["name"] for room in Door(token_of=bob).get("/rooms")["items"] if room["kind"] == "direct"] == [alias]
    assert Message.objects.get(pk=theirs.pk).text == "Between us"


def test_what_was_said_is_as_if_deleted(mallory: User, garden: Room, eraser: Eraser, log: LogWatch) -> None:
    """And what others said is as it was."""
    said = say(garden, mallory, "Hello", edited_at=timezone.now(), edited_by=NAME)
    taken = say(garden, mallory, "", deleted_at=timezone.now(), deleted_by="bob")
    others = say(garden, User.objects.get(username="bob"), "Hello Mallory")
    erase(mallory, eraser, log)
    alias = f"erased-{mallory.pk}"
    frame = frame_of_row(Message.objects.get(pk=said.pk))
    assert "text" not in frame and frame["sender"] == alias and frame["deleted_by"] == alias
    assert frame_of_row(Message.objects.get(pk=taken.pk))["deleted_by"] == "bob"
    assert frame_of_row(Message.objects.get(pk=others.pk)) == frame_of_row(others)


def test_the_account_is_closed_with_the_answer(mallory: User, garden: Room) -> None:
    """Everything but a number is taken from the row, and sessions and tokens end."""
    mallory.groups.add(Group.objects.create(name="helpers"))
    door, program = Door(), Door(token_of=mallory)
    door.sign_in(NAME)
    assert refused(door, door.call("DELETE", "/me/data", {"password": "wrong"})) == (403, "forbidden")
    door.call("DELETE", "/me/data", {"password": PASSWORD})
    assert door.status == 204 and door.get("/session")["user"] is None
    assert refused(program, program.get("/rooms")) == (403, "forbidden")
    user = User.objects.get(pk=mallory.pk)
    assert (user.username, user.email, user.is_active, user.last_login) == (f"erased-{user.pk}", "", False, None)
    assert not user.has_usable_password() and not user.groups.exists()
    assert refused(door, door.sign_in(NAME)) == (401, "unauthenticated")


def test_an_erased_id_is_never_given_again(mallory: User, eraser: Eraser, log: LogWatch) -> None:
    """In whatever case; nobody is to be taken for the person who was here."""
    erase(mallory, eraser, log)
    for name in (NAME, NAME.upper()):
        with pytest.raises(ChatError) as refusal:
            make_person(name)
        assert refusal.value.code == ErrorCode.CONFLICT
        with pytest.raises(ChatError):
            services.register_programs(usernames=[name])
    assert not User.objects.exclude(pk=mallory.pk).exists()


def test_a_room_goes_to_whoever_leads_it_or_is_there_longest(mallory: User, eraser: Eraser, log: LogWatch) -> None:
    """A moderator before a member, nobody who is deactivated while there is somebody else; an empty room goes."""
    people = [make_person(name) for name in ("gone", "first", "second", "leader")]
    rooms = [create_room(owner=mallory, name=name, kind="private") for name in ("led", "unled", "empty")]
    for room, members in zip(rooms, (people, people[:3], []), strict=True):
        for person in members:
            Membership.objects.create(
                room=room, user=person, role="moderator" if person.username == "leader" else "member"
            )
    services.deactivate_user(user=people[0])
    erase(mallory, eraser, log)
    owners = {room.name: room.owner.username for room in Room.objects.all()}
    assert owners == {"led": "leader", "unled": "first"}
    assert set(Membership.objects.filter(role="owner").values_list("user__username", flat=True)) == {"leader", "first"}
    assert not Membership.objects.filter(user=mallory).exists()
    renewed = OutboxEvent.objects.filter(type="chat.room.updated.v1").values_list("payload__owner", flat=True)
    assert sorted(renewed) == ["first", "leader"]


def test_redis_forgets_too(mallory: User, garden: Room, eraser: Eraser, log: LogWatch, cache: VersionedCache) -> None:
    """The person, whom a late record of the sign-up does not bring back, and the text that the room list shows."""
    say(garden, mallory, "the last word")
    LastMessages(cache).rebuild([garden.pk])
    entry = Entry(user_key(NAME), 1, user_state(mallory))
    cache.write([entry])
    erase(mallory, eraser, log)
    cache.write([entry])
    assert user_key(NAME) not in [key for keys in cache.held("user:") for key in keys]
    figures = RoomFigures(settings.REDIS_URL, **settings.REDIS_OPTIONS)
    last = figures.read([garden.pk])[garden.pk].last_message
    assert last is not None and "text" not in last and last["sender"] == f"erased-{mallory.pk}"


def test_what_is_stored_late_is_erased_too(
    mallory: User, garden: Room, eraser: Eraser, log: LogWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The erasure is over only when all that was in Kafka is stored."""
    # Of a new log, which is empty, all would be stored.
    monkeypatch.setattr(log, "ends", lambda: {0: 2})
    begin_erasure(user=mallory)
    erasure = Erasure.objects.select_related("user").get()
    assert not eraser.advance(erasure)
    late = say(garden, mallory, "late", sender_name=NAME)
    say(garden, None, "", kind="notice", seq=None, notice={"event": "member_joined", "user": NAME})
    ConsumedOffset.objects.filter(topic=Topic.MESSAGE_CREATED.value).delete()
    assert not eraser.advance(erasure)
    store_everything(log)
    ConsumedOffset.objects.filter(partition=0).update(next_offset=1)
    assert not eraser.advance(erasure)
    store_everything(log)
    assert eraser.advance(erasure)
    late.refresh_from_db()
    assert late.text == "" and list(places_of(NAME)) == []


def test_nothing_is_over_before_the_last_web_process_has_heard_of_it(
    mallory: User, cache: VersionedCache, log: LogWatch
) -> None:
    """One that was cut off from PostgreSQL lets people speak for a while."""
    begin_erasure(user=mallory)
    store_everything(log)
    erasure = Erasure.objects.select_related("user").get()
    assert not Eraser(cache, log, settings.KAFKA_BOOTSTRAP_SERVERS).advance(erasure)


def test_an_erasure_that_was_killed_goes_on_where_it_was(
    mallory: User, garden: Room, eraser: Eraser, log: LogWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each batch is done or not done; the next process does the rest."""
    fill_room(garden, 35)
    Message.objects.update(sender=mallory, sender_name=NAME, time=timezone.now())
    produce, calls = eraser._producer.produce, []

    def fail_at_the_third(topic: str, records: Any) -> None:
        calls.append(topic)
        if len(calls) == 3:
            raise KafkaException("killed")
        produce(topic, records)

    monkeypatch.setattr(eraser._producer, "produce", fail_at_the_third)
    begin_erasure(user=mallory)
    begin_erasure(user=User.objects.get(pk=mallory.pk))
    with pytest.raises(KafkaException):
        eraser.run()
    # The third batch was done when Kafka went away; nobody is told of it but by looking.
    assert Message.objects.filter(text="").count() == 30
    erase(mallory, Eraser(eraser._cache, log, settings.KAFKA_BOOTSTRAP_SERVERS, settled=timedelta(0), batch=10), log)
    assert Message.objects.filter(text="", sender_name=f"erased-{mallory.pk}").count() == 35


def test_only_what_people_may_still_see_is_deleted_in_the_log(
    mallory: User, garden: Room, eraser: Eraser, log: LogWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older messages are found empty at the next look."""
    say(garden, mallory, "old", time=timezone.now() - timedelta(days=2))
    fresh = say(garden, mallory, "fresh")
    told: list[Any] = []
    monkeypatch.setattr(eraser._producer, "produce", lambda topic, records: told.extend(records))
    erase(mallory, eraser, log)
    (record,) = told
    envelope = orjson.loads(record.value)
    assert (record.key, envelope["type"]) == (f"room.{garden.pk}", "chat.message.deleted.v1")
    assert (envelope["data"]["message"], envelope["data"]["by"]) == (str(fresh.uid), f"erased-{mallory.pk}")


def test_the_command_erases_and_may_be_repeated(
    mallory: User, garden: Room, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the former name too, while the erasure is under way."""
    say(garden, mallory, "Hello")
    for _ in range(2):
        call_command("erase_person", NAME, "--yes")
        assert f"The person is erased-{mallory.pk} now" in capsys.readouterr().out
    assert not Message.objects.filter(text="Hello").exists()
    with pytest.raises(CommandError, match="no such person"):
        call_command("erase_person", "nobody", "--yes")


def test_the_command_asks_whether_that_is_meant(mallory: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anything but the user id is no."""
    monkeypatch.setattr("builtins.input", lambda question: "yes")
    with pytest.raises(CommandError, match="Nothing was done"):
        call_command("erase_person", NAME)
    assert User.objects.get(pk=mallory.pk).username == NAME

"""Deciding about the records that could not be handled."""

from dataclasses import replace
from io import StringIO
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from django.conf import settings
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client

from accounts.models import User
from events.consumer import ReceivedRecord
from events.dead_letters import DeadLetters
from events.errors import LetterDecided, NoSuchLetter
from events.letter_box import LetterBox
from events.models import DeadLetterDecision
from events.topics import Topic
from tests.integration.people_support import at_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("stack")]
ADMIN = "/admin/events/deadletterdecision/"


@pytest.fixture
def box() -> LetterBox:
    return LetterBox(settings.KAFKA_BOOTSTRAP_SERVERS)


def set_aside(*, key: str | None = "4711", reason: str = "A test.") -> tuple[int, bytes]:
    """A new letter's number and its value, which is no other one's."""
    value = f"not JSON {uuid4()}".encode()
    headers = {"id": b"the id", "more": b"\x00\xff"}
    record = ReceivedRecord(Topic.ROOM_CREATED.value, 2, 17, key, value, headers, 0)
    letters = DeadLetters(settings.KAFKA_BOOTSTRAP_SERVERS)
    letters.produce(record, reason=reason)
    letters.close()
    (letter,) = LetterBox(settings.KAFKA_BOOTSTRAP_SERVERS).newest(1)
    return letter.offset, value


def replayed(value: bytes) -> list[tuple[bytes | None, dict[str, bytes]]]:
    """Key and headers of the records with this value on the letter's topic."""
    consumer = Consumer({"bootstrap.servers": settings.KAFKA_BOOTSTRAP_SERVERS, "group.id": f"test-{uuid4()}"})
    found = []
    for partition in range(3):
        place = TopicPartition(Topic.ROOM_CREATED.value, partition)
        place.offset, end = consumer.get_watermark_offsets(place, 10)
        consumer.assign([place])
        while place.offset < end:
            message = consumer.poll(10)
            assert message is not None and message.error() is None
            place.offset = message.offset() + 1
            if message.value() == value:
                found.append((message.key(), dict(message.headers() or ())))
    consumer.close()
    return found


def run(*arguments: str) -> str:
    output = StringIO()
    call_command("dead_letters", *arguments, stdout=output)
    return output.getvalue()


@pytest.mark.parametrize("key", ["4711", None, "\udcff\udcfe"], ids=["text", "none", "no text"])
def test_a_replayed_record_is_what_it_was(box: LetterBox, key: str | None) -> None:
    """Key, value and headers, without what was added when it was set aside; once, and by whom is known."""
    number, value = set_aside(key=key)
    decision = box.replay(number, by="carol")
    assert (decision.action, decision.by, decision.origin) == ("replayed", "carol", "chat.room.created[2]@17")
    raw = None if key is None else key.encode(errors="surrogateescape")
    assert replayed(value) == [(raw, {"id": b"the id", "more": b"\x00\xff"})]


@pytest.mark.parametrize("act", ["replay", "drop"])
def test_a_decided_letter_is_not_open_any_more_and_cannot_be_decided_again(box: LetterBox, act: str) -> None:
    """It stays among all letters, with the decision."""
    number, value = set_aside()
    getattr(box, act)(number, by="carol")
    assert number not in {letter.offset for letter in box.newest(100)}
    (newest,) = box.newest(1, decided=True)
    assert newest.offset == number and newest.decision is not None
    for again in (box.replay, box.drop):
        with pytest.raises(LetterDecided, match=rf"{number} was {newest.decision.action} by carol already"):
            again(number, by="dave")
    assert len(replayed(value)) == (act == "replay")


def test_of_two_who_decide_at_once_one_is_told(box: LetterBox) -> None:
    """The record is replayed once."""
    number, value = set_aside()

    def decide() -> object:
        try:
            return box.replay(number, by="carol")
        except LetterDecided as error:
            return error

    outcomes = at_once([decide, decide])
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["DeadLetterDecision", "LetterDecided"]
    assert len(replayed(value)) == 1


def test_a_replay_that_kafka_does_not_confirm_leaves_the_letter_open(box: LetterBox) -> None:
    """Nothing is written down that did not happen."""
    number, _ = set_aside()
    DeadLetterDecision.objects.all().delete()
    letter = box.find(number)
    with pytest.MonkeyPatch.context() as patch:
        # No broker takes a record of this size.
        patch.setattr(LetterBox, "find", lambda *_: replace(letter, value=b"x" * 1_048_576))
        with pytest.raises(KafkaException):
            box.replay(number, by="carol")
    assert not DeadLetterDecision.objects.exists()


def test_a_letter_that_is_not_there_is_told(box: LetterBox) -> None:
    """Before the first and behind the last one."""
    number, _ = set_aside()
    for missing in (number + 1, 10**12):
        with pytest.raises(NoSuchLetter, match=f"There is no dead letter {missing}"):
            box.replay(missing, by="carol")


def test_the_command_lists_shows_replays_and_drops() -> None:
    """What a person at a terminal does with two letters."""
    number, value = set_aside(reason="Not JSON.")
    other, _ = set_aside(reason="No room.")
    first, second, *_ = run("list").splitlines()
    assert "open      chat.room.created[2]@17  No room." in first and "Not JSON." in second
    shown = run("show", str(number))
    for word in ("Not JSON.", value.decode(), "4711", "header id:   the id", r"\xff", "state:       open"):
        assert word in shown
    assert "dropped by carol" in run("drop", str(other), "--by", "carol")
    assert "replayed by carol" in run("replay", str(number), "--by", "carol")
    assert len(replayed(value)) == 1
    assert str(number) not in {line.split()[0] for line in run("list").splitlines()}
    assert "replayed  chat.room.created[2]@17  Not JSON." in run("list", "--all")
    with pytest.raises(CommandError, match="already"):
        run("drop", str(number))


def test_the_admin_shows_open_letters_and_decides() -> None:
    """With the name of who was signed in; the decision is in the list below."""
    number, value = set_aside(reason="<b>Not JSON.</b>")
    other, _ = set_aside()
    client = Client()
    client.force_login(User.objects.create_superuser(username="carol", password="correct horse battery"))
    page = client.get(ADMIN).content.decode()
    assert "&lt;b&gt;Not JSON.&lt;/b&gt;" in page and value.decode() in page
    page = client.post(f"{ADMIN}decide/", {"action": "replay", "number": [number]}, follow=True).content.decode()
    assert f"Dead letter {number}: replayed by carol" in page
    page = client.post(f"{ADMIN}decide/", {"action": "drop", "number": [number, other]}, follow=True).content.decode()
    assert f"{number} was replayed by carol already" in page and f"Dead letter {other}: dropped by carol" in page
    assert len(replayed(value)) == 1


def test_who_may_only_look_sees_no_records_and_decides_nothing() -> None:
    """A record may hold what a person wrote."""
    number, value = set_aside()
    client = Client()
    looker = User.objects.create_superuser(username="dave", password="correct horse battery")
    User.objects.filter(pk=looker.pk).update(is_superuser=False)
    looker.refresh_from_db()
    looker.user_permissions.add(Permission.objects.get(codename="view_deadletterdecision"))
    client.force_login(looker)
    page = client.get(ADMIN).content.decode()
    assert "chat.room.created[2]@17" in page and value.decode() not in page
    assert client.post(f"{ADMIN}decide/", {"action": "drop", "number": [number]}).status_code == 403
    assert not DeadLetterDecision.objects.exists()

"""Reports: those who lead a room, and the operator, are told of a message."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from messaging.models import Message, Report
from rooms import moderation
from rooms.models import ModerationEntry, Room
from rooms.services import delete_room
from tests.integration.history_support import fill_room
from tests.integration.people_support import Door, make_person, refused
from tests.integration.test_rooms_services import make_room

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def room(alice: User, bob: User) -> Room:
    """Alice's, where she has said two things and Bob is a member."""
    room = make_room(alice, bob)
    fill_room(room, 2)
    return room


def path_of(room: Room, seq: int = 1) -> str:
    return f"/rooms/{room.pk}/messages/{Message.objects.get(room=room, seq=seq).uid}/report"


def test_a_report_is_kept_once_and_seen_by_those_who_lead_the_room(room: Room, alice: User, bob: User) -> None:
    """With the message as it is now, and without who reported it; the log knows that."""
    his, hers = Door(token_of=bob), Door(token_of=alice)
    for reason in (" rude ", "again"):
        his.call("POST", path_of(room), {"reason": reason})
        assert his.status == 204
    (report,) = hers.get(f"/rooms/{room.pk}/reports")["items"]
    assert (report["reason"], report["message"]["sender"]) == ("rude", "alice")
    assert set(report) == {"message", "reason", "created"}
    entry = ModerationEntry.objects.get(action="report")
    assert (entry.actor, entry.subject, entry.reason) == ("bob", "alice", "rude")
    assert refused(his, his.get(f"/rooms/{room.pk}/reports")) == (403, "forbidden")


def test_deleting_the_message_settles_its_reports(room: Room, alice: User, bob: User) -> None:
    Door(token_of=bob).call("POST", path_of(room), {"reason": "rude"})
    Message.objects.filter(seq=1).update(text="", deleted_at=timezone.now())
    assert Door(token_of=alice).get(f"/rooms/{room.pk}/reports")["items"] == []
    door = Door(token_of=bob)
    assert refused(door, door.call("POST", path_of(room), {"reason": "x"})) == (404, "not_found")


def test_who_reads_may_report_and_nobody_else(room: Room, alice: User) -> None:
    """A visitor of a public room may, somebody who is banned may not, and a private room is not there."""
    stranger = make_person("carol")
    door = Door(token_of=stranger)
    door.call("POST", path_of(room), {"reason": "rude"})
    assert door.status == 204
    moderation.ban_person(room_id=room.pk, username="carol", by=alice)
    assert refused(door, door.call("POST", path_of(room, 2), {"reason": "rude"})) == (403, "banned")
    Room.objects.filter(pk=room.pk).update(kind="private")
    assert refused(door, door.call("POST", path_of(room, 2), {"reason": "rude"})) == (404, "not_found")


@pytest.mark.parametrize("body", [{}, {"reason": " "}, {"reason": "x" * 201}, {"reason": "a\nb"}, {"reason": 1}])
def test_bad_reports_are_invalid(room: Room, bob: User, body: Any) -> None:
    door = Door(token_of=bob)
    assert refused(door, door.call("POST", path_of(room), body)) == (400, "invalid")
    assert not Report.objects.exists()


def test_what_is_not_there_is_not_reported(room: Room, bob: User) -> None:
    door = Door(token_of=bob)
    for message in ("0b4e7a0e-5f3e-4f0e-9a41-0d6f6a7d9a08", "1"):
        answer = door.call("POST", f"/rooms/{room.pk}/messages/{message}/report", {"reason": "x"})
        assert refused(door, answer) == (404, "not_found")


def test_the_admin_reads_reports(room: Room, bob: User) -> None:
    User.objects.create_superuser("root", "correct horse battery")
    Door(token_of=bob).call("POST", path_of(room), {"reason": "rude"})
    client = Client()
    client.login(username="root", password="correct horse battery")
    page = client.get(reverse("admin:messaging_report_changelist"), {"q": "rude"})
    assert page.status_code == 200 and "bob" in page.text
    assert client.get(reverse("admin:messaging_report_add")).status_code == 403


def test_a_room_with_reports_is_deleted_with_as_few_questions_however_much_was_said(alice: User, bob: User) -> None:
    """The messages are never read."""
    questions = []
    for count in (1, 500):
        room = make_room(alice, bob)
        fill_room(room, count)
        Report.objects.bulk_create(Report(message=row, by=bob, reason="rude") for row in room.messages.all()[:300])
        with CaptureQueriesContext(connection) as asked:
            delete_room(room_id=room.pk, by=alice)
        questions.append(len(asked))
        assert not any(query["sql"].startswith("SELECT") and "messaging_message" in query["sql"] for query in asked)
    assert questions[0] == questions[1] and not Message.objects.exists() and not Report.objects.exists()


def test_reports_come_in_pages_the_newest_first(room: Room, alice: User, bob: User) -> None:
    for seq in (1, 2):
        Door(token_of=bob).call("POST", path_of(room, seq), {"reason": f"reason {seq}"})
    hers, path = Door(token_of=alice), f"/rooms/{room.pk}/reports"
    page = hers.get(f"{path}?limit=1")
    rest = hers.get(f"{path}?limit=1&after={page['next']}")
    assert [report["reason"] for report in page["items"] + rest["items"]] == ["reason 2", "reason 1"]
    assert rest["next"] is None

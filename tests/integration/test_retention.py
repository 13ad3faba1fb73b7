"""Forgetting what is older than the chat is to remember."""

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.utils import timezone

from accounts.cache import Entry, VersionedCache
from messaging.cursor import Cursor
from messaging.history import is_whole_behind, newest_page
from messaging.models import Message, Report
from messaging.retention import purge_messages
from rooms.figures import RoomFigures, last_message_key
from rooms.models import Room
from tests.integration.history_support import fill_room, make_room

pytestmark = pytest.mark.django_db
START = datetime(2026, 1, 1, tzinfo=UTC)


def seqs(room: Room) -> list[int]:
    page = newest_page(room.pk, limit=200, stored=Cursor(2, 0, 10**6))
    return [row.seq for row in page.rows if row.seq is not None]


def purge(**options: Any) -> int:
    return purge_messages(forget=lambda rooms: None, **options)


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_the_oldest_messages_go_and_the_others_keep_their_numbers(batch: int) -> None:
    """Whatever the size of the batches; a second call finds nothing."""
    first, second = make_room(), make_room()
    for room in (first, second):
        fill_room(room, 60)
    assert purge(before=START + timedelta(seconds=21), batch=batch) == 20
    assert purge(before=START + timedelta(seconds=21), batch=batch) == 0
    assert seqs(first) == list(range(21, 61)) and seqs(second) == list(range(1, 61))
    Message.objects.filter(room=second).update(time=timezone.now())
    assert purge(before=START + timedelta(days=1), batch=batch) == 40
    assert seqs(first) == [] and seqs(second) == list(range(1, 61))


def test_who_resumes_from_before_what_was_purged_is_known_to_miss_something() -> None:
    """Also when the room itself has lost nothing: better told once too often than never."""
    fill_room(make_room(), 60)
    assert is_whole_behind(Cursor(1, 0, 0))
    purge(before=START + timedelta(seconds=41), batch=7)
    assert not is_whole_behind(Cursor(1, 0, 300)) and not is_whole_behind(Cursor(2, 0, 399))
    assert is_whole_behind(Cursor(2, 0, 400)) and is_whole_behind(Cursor(1, 1, 0))


def test_the_command_follows_the_setting(settings: Any) -> None:
    """Unset: nothing is ever deleted."""
    room = make_room()
    fill_room(room, 10)
    Message.objects.filter(seq__gt=4).update(time=timezone.now())

    def run() -> str:
        output = StringIO()
        call_command("purge_messages", stdout=output)
        return output.getvalue()

    settings.MESSAGE_RETENTION_DAYS = None
    assert "for ever" in run() and len(seqs(room)) == 10
    settings.MESSAGE_RETENTION_DAYS = 0.5
    assert run() == "4 messages and notices were deleted.\n"
    assert seqs(room) == [5, 6, 7, 8, 9, 10]


def test_the_room_list_forgets_a_last_message_that_was_purged() -> None:
    """And keeps the one of a room where younger ones are left."""
    cache = VersionedCache(settings.REDIS_URL, **settings.REDIS_OPTIONS)
    figures = RoomFigures(settings.REDIS_URL, **settings.REDIS_OPTIONS)
    gone, kept = make_room(), make_room()
    for room in (gone, kept):
        fill_room(room, 10)
        cache.write([Entry(last_message_key(room.pk), 1, {"text": "said"})])
    Message.objects.filter(room=kept, seq=10).update(time=timezone.now())
    call_command("purge_messages", "--days", "1", stdout=StringIO())
    known = figures.read([gone.pk, kept.pk])
    assert [known[room.pk].last_message for room in (gone, kept)] == [None, {"text": "said"}]
    cache.forget([last_message_key(kept.pk)])


def test_what_was_reported_is_purged_with_its_reports() -> None:
    room = make_room()
    fill_room(room, 2)
    Report.objects.bulk_create(Report(message=row, by=room.owner, reason="rude") for row in room.messages.all())
    assert purge(before=START + timedelta(seconds=2)) == 1
    assert [report.message.seq for report in Report.objects.all()] == [2]

"""Everything stored about a person, as one document."""

import json
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.test import Client

from accounts.models import User
from accounts.services import set_email
from accounts.tokens import issue_token
from messaging.models import Message
from messaging.personal_data import SECTIONS, personal_data
from messaging.reports import report_message
from rooms.blocks import block_person
from rooms.models import Room
from rooms.moderation import ban_person
from rooms.services import create_room, join_room
from tests.integration.history_support import fill_room
from tests.integration.people_support import make_person

pytestmark = pytest.mark.django_db(transaction=True)
START = datetime(2026, 1, 1, tzinfo=UTC)


def say(room: Room, user: User, text: str, **fields: Any) -> Message:
    return Message.objects.create(
        **{
            "room": room, "uid": uuid4(), "kind": "message", "epoch": 1, "partition": 0,
            "offset": Message.objects.count(), "sender": user, "sender_name": user.username, "text": text,
            "time": START, **fields,
        }
    )  # fmt: skip


def notice(room: Room, user: User, **told: Any) -> Message:
    told = {"event": "member_joined", "user": user.username, "name": None, "by": None, **told}
    return say(room, user, "", kind="notice", sender=None, sender_name="", notice=told)


def document_of(user: User) -> Any:
    return json.loads(b"".join(personal_data(user)))


def test_the_document_holds_everything_about_a_person_and_nothing_of_others() -> None:
    """Account, memberships, messages, where she is named, and what she deleted."""
    alice, bob = make_person("alice"), make_person("bob")
    set_email(user=alice, email="alice@example.org")
    room = create_room(owner=bob, name="Garden", kind="public")
    join_room(room_id=room.pk, user=alice)
    said = say(room, alice, "Hello <b>Bob</b> 안녕", edited_at=START, edited_by="alice")
    say(room, alice, "", deleted_at=START, deleted_by="alice")
    say(room, bob, "a secret of Bob's")
    taken = say(room, bob, "", deleted_at=START, deleted_by="alice")
    notice(room, alice)
    notice(room, bob)
    notice(room, bob, event="member_removed", by="alice")
    document = document_of(alice)
    assert document["account"].items() >= {"id": "alice", "email": "alice@example.org", "active": True}.items()
    (membership,) = document["memberships"]
    assert (membership["room"], membership["name"], membership["role"]) == (room.pk, "Garden", "member")
    first, second = document["messages"]
    assert (first["id"], first["text"], first["cursor"]) == (str(said.uid), "Hello <b>Bob</b> 안녕", str(said.cursor))
    assert first["time"] == "2026-01-01T00:00:00.000Z" and "edited" in first and "text" not in second
    assert [(row["user"], row.get("by")) for row in document["notices"]] == [("alice", None), ("bob", "alice")]
    assert document["deletions"] == [{"room": room.pk, "message": str(taken.uid), "time": first["time"]}]
    assert "secret" not in json.dumps(document)


def test_what_leads_rooms_blocks_and_reports_is_told_without_the_others_part() -> None:
    """Nobody learns who has reported, blocked or banned whom."""
    alice, bob = make_person("alice"), make_person("bob")
    room, hers = (create_room(owner=owner, name="Garden", kind="public") for owner in (bob, alice))
    for each in (room, hers):
        for person in (alice, bob):
            join_room(room_id=each.pk, user=person)
    said, heard = say(room, alice, "Noise"), say(room, bob, "Silence")
    report_message(room_id=room.pk, message=said.uid, by=bob, reason="Too loud")
    report_message(room_id=room.pk, message=heard.uid, by=alice, reason="Too quiet")
    block_person(username="bob", by=alice)
    block_person(username="alice", by=bob)
    ban_person(room_id=room.pk, username="alice", by=bob, reason="Enough")
    ban_person(room_id=hers.pk, username="bob", by=alice, reason="You too")
    document = document_of(alice)
    assert [(row["room"], row["reason"]) for row in document["bans"]] == [(room.pk, "Enough")]
    assert [row["user"] for row in document["blocks"]] == ["bob"]
    assert [(row["message"], row["reason"]) for row in document["reports"]] == [(str(heard.uid), "Too quiet")]
    acts = [(row["action"], row["by_me"], row["user"]) for row in document["moderation"]]
    assert acts == [("report", True, "bob"), ("ban", False, "alice"), ("ban", True, "bob")]
    assert "Too loud" not in json.dumps(document)


def test_the_name_of_a_private_room_is_not_told_to_who_is_banned_from_it() -> None:
    """Who is banned knows no more of it than strangers do; it may be renamed since."""
    alice, bob = make_person("alice"), make_person("bob")
    room = create_room(owner=alice, name="Secret garden", kind="private")
    ban_person(room_id=room.pk, username="bob", by=alice, reason="Never")
    (ban,) = document_of(bob)["bans"]
    assert (ban["room"], ban["name"], ban["reason"]) == (room.pk, None, "Never")


def test_a_person_of_nothing_has_a_document_too() -> None:
    """Empty lists."""
    document = document_of(make_person("alice"))
    assert [document[name] for name in SECTIONS] == [[]] * len(SECTIONS)


def test_memory_does_not_grow_with_what_was_said() -> None:
    """A page of rows, and eight bytes for each message."""
    few, many = make_person("alice"), make_person("bob")
    for person, count in ((few, 3_000), (many, 12_000)):
        fill_room(create_room(owner=person, name="Garden", kind="public"), count)
    (little, peak_of_few), (much, peak_of_many) = measure(few), measure(many)
    assert much > 3.5 * little > 2_000_000
    assert peak_of_many < 1.5 * peak_of_few


def measure(user: User) -> tuple[int, int]:
    """The size of a document, and the most memory while it was made."""
    tracemalloc.start()
    try:
        return sum(len(piece) for piece in personal_data(user)), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_my_document_is_a_download_that_is_limited() -> None:
    """For the person alone. (A browser test reads it.)"""
    cache.clear()
    assert Client().get("/api/v1/me/data").status_code == 401
    headers = {"Authorization": f"Bearer {issue_token(make_person('alice'))[0]}"}
    answers = [Client().get("/api/v1/me/data", headers=headers) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    assert "attachment" in answers[0]["Content-Disposition"] and answers[0]["Cache-Control"] == "no-store"


def test_the_command_writes_a_file_for_nobody_else_to_read(tmp_path: Path) -> None:
    """Under the id in whatever case."""
    make_person("Alice")
    file = tmp_path / "alice.json"
    call_command("export_person", "ALICE", "--to", str(file))
    assert json.loads(file.read_text())["account"]["id"] == "Alice"
    assert file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(CommandError, match="no such person"):
        call_command("export_person", "nobody", "--to", str(file))


def test_every_column_of_a_person_is_told_or_nobody_s_business() -> None:
    """A new column is told in the document, or named here with the reason."""
    told = {"username", "email", "created_at", "last_login", "is_active", "is_staff"}
    # Keys and counters of ours; a hash that only helps who wants to guess the password; groups of the admin.
    untold = {"id", "username_key", "version", "token_generation", "password", "is_superuser"}
    assert {field.name for field in get_user_model()._meta.concrete_fields} == told | untold

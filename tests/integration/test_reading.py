"""Read marks: from a place in the log to a number, and never back."""

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import KafkaException

from accounts.models import User
from events.envelope import Envelope
from events.producing import OutgoingRecord
from events.schemas import EventType
from messaging import activity as activity_module
from messaging.activity import RoomActivity
from messaging.cursor import Cursor
from messaging.last_message import LastMessage
from messaging.models import Message
from messaging.reading import write_marks
from messaging.storage import Row
from rooms.models import Membership, ReadMark, Room
from rooms.services import create_room, join_room, mark_read
from tests.acceptance.processes import wait_for
from tests.integration.people_support import make_person

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def room(alice: User, bob: User) -> Room:
    room = create_room(owner=alice, name="Room", kind="public")
    join_room(room_id=room.pk, user=bob)
    return room


def fill(room: Room, *kinds: str) -> None:
    """Rows at the offsets 0, 10, 20 …, `m` a message and `n` a notice."""
    seq = 0
    for place, kind in enumerate(kinds):
        seq += kind == "m"
        Message.objects.create(
            room=room, uid=uuid4(), kind="message" if kind == "m" else "notice", epoch=1, partition=0,
            offset=place * 10, seq=seq if kind == "m" else None, sender_name="alice", text=kind,
            time="2026-11-23T10:00:00Z",
        )  # fmt: skip
    Room.objects.filter(pk=room.pk).update(last_seq=seq)


def mark(room: Room, user: User) -> int:
    return Membership.objects.get(room=room, user=user).read_seq


@pytest.mark.parametrize(
    ("offset", "seq"), [(-1, 0), (0, 1), (5, 1), (10, 1), (20, 2), (29, 2), (30, 3), (10**9, 3)]
)  # fmt: skip
def test_a_place_in_the_log_is_the_number_of_the_newest_message_there(room: Room, bob: User, offset: int, seq: int):
    """Notices have no number, and places need not be those of messages."""
    fill(room, "m", "n", "m", "m")
    moved = write_marks({(bob.pk, room.pk): Cursor(1, 0, offset)})
    assert mark(room, bob) == seq
    assert moved == ([ReadMark(bob.pk, room.pk, seq)] if seq else [])


def test_what_was_purged_counts_as_read_by_who_reads_behind_it(room: Room, bob: User):
    """Also where no message is left."""
    fill(room, "m", "m", "m")
    Message.objects.filter(seq__lt=3).delete()
    write_marks({(bob.pk, room.pk): Cursor(1, 0, 15)})
    assert mark(room, bob) == 2
    Message.objects.all().delete()
    write_marks({(bob.pk, room.pk): Cursor(1, 0, 15)})
    assert mark(room, bob) == 3


def test_a_mark_never_goes_back_and_is_only_for_members(room: Room, alice: User, bob: User):
    """A stranger's and a late one change nothing; all are written in one statement."""
    eve = make_person("eve")
    assert mark_read([ReadMark(bob.pk, room.pk, 5), ReadMark(alice.pk, room.pk, 4), ReadMark(eve.pk, room.pk, 3)])
    assert mark_read([ReadMark(bob.pk, room.pk, 2), ReadMark(bob.pk, 10**9, 9)]) == []
    assert (mark(room, alice), mark(room, bob)) == (4, 5)
    assert mark_read([]) == []


class Listener:
    """What would have gone to Kafka, turn by turn; it can be away."""

    def __init__(self) -> None:
        self.turns: list[list[Envelope]] = []
        self.away = False
        self.refused = 0

    def produce(self, topic: str, records: Any) -> None:
        if self.away:
            self.refused += 1
            raise KafkaException("away")
        turn = [Envelope.decode(record.value) for record in records if isinstance(record, OutgoingRecord)]
        # The thread may be called once more for what it has taken already.
        if turn:
            self.turns.append(turn)

    def told(self, type: EventType) -> list[Any]:
        return [envelope.data for turn in self.turns for envelope in turn if envelope.type == type]


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Listener:
    return Listener()


@pytest.fixture
def activity(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> Iterator[RoomActivity]:
    monkeypatch.setattr(activity_module, "INTERVAL", 0.05)
    activity = RoomActivity(listener.produce)
    activity.start()
    yield activity
    activity.close()


def said(room: int, user: int, seq: int) -> tuple[dict[int, LastMessage], Sequence[Row]]:
    row = Row(room, uuid4(), "message", seq, seq, user, "alice", "text", None, None, None, None)  # type: ignore[arg-type]
    return {room: LastMessage(seq, seq, {"type": "message", "text": f"{seq}"})}, [row]


def test_the_last_message_is_always_told_and_not_every_one(activity: RoomActivity, listener: Listener, room: Room):
    """However fast they come."""
    for seq in range(1, 201):
        activity.note(*said(room.pk, 10**9, seq))
    told = listener.told
    wait_for(lambda: told(EventType.ROOM_ACTIVITY)[-1:] and told(EventType.ROOM_ACTIVITY)[-1]["seq"] == 200, "the last")
    assert len(listener.turns) < 100
    assert all(len(turn) == 1 for turn in listener.turns)


def test_who_says_something_has_read_what_was_before(
    activity: RoomActivity, listener: Listener, room: Room, alice: User
):
    """The mark is written, and told ahead of the message."""
    Room.objects.filter(pk=room.pk).update(last_seq=7)
    activity.note(*said(room.pk, alice.pk, 7))
    wait_for(lambda: listener.told(EventType.ROOM_ACTIVITY), "it is told")
    assert [envelope.type for envelope in listener.turns[0]] == [EventType.ROOM_READ, EventType.ROOM_ACTIVITY]
    assert listener.told(EventType.ROOM_READ) == [{"marks": [{"user_id": alice.pk, "room": room.pk, "seq": 7}]}]
    assert mark(room, alice) == 7


def test_what_kafka_does_not_take_is_told_later_and_once_at_the_end(
    activity: RoomActivity, listener: Listener, room: Room
):
    """The newest state, when Kafka is back; a consumer that stops tells what waits."""
    listener.away = True
    activity.note(*said(room.pk, 10**9, 1))
    wait_for(lambda: listener.refused > 1, "it is tried again")
    activity.note(*said(room.pk, 10**9, 2))
    # What is being told at this moment may still be the old state; what is told after that is the new one.
    refused = listener.refused
    wait_for(lambda: listener.refused > refused + 1, "the newest is tried")
    listener.away = False
    wait_for(lambda: [data["seq"] for data in listener.told(EventType.ROOM_ACTIVITY)] == [2], "the newest is told")
    activity.note(*said(room.pk, 10**9, 3))
    activity.close()
    assert [data["seq"] for data in listener.told(EventType.ROOM_ACTIVITY)] == [2, 3]


def test_what_waits_is_bounded(listener: Listener, monkeypatch: pytest.MonkeyPatch):
    """Beyond a number of rooms only their numbers are kept, and each is told all the same."""
    monkeypatch.setattr(activity_module, "MAX_FRAMES", 2)
    monkeypatch.setattr(activity_module, "MAX_SENDERS", 2)
    activity = RoomActivity(listener.produce)
    for room in (1, 2, 3):
        activity.note(*said(room, 10**9, 5))
    assert len(activity._said) == 2
    activity.start()
    activity.close()
    frames = {data["room"]: data["last_message"] for data in listener.told(EventType.ROOM_ACTIVITY)}
    assert frames.keys() == {1, 2, 3} and frames[3] is None and frames[1]["text"] == "5"

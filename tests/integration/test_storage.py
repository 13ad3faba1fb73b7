"""Storing a room's log."""

from itertools import count
from uuid import uuid4

import pytest

from events.consumer import ReceivedRecord
from events.envelope import Envelope, InvalidRecord
from events.models import ConsumedOffset, OffsetConflict
from events.schemas import EventType
from events.topics import Topic
from messaging.log import epoch_of
from messaging.models import Message
from messaging.storage import MessageStorage, reused_total
from rooms.models import Room
from tests.integration.history_support import make_room

pytestmark = pytest.mark.django_db(transaction=True)


class Log:
    """Records of one partition, numbered as they are made."""

    def __init__(self) -> None:
        self._offsets = count()

    def message(self, room: int, text: str, *, id: str | None = None) -> ReceivedRecord:
        data = {"room": room, "sender": "alice", "sender_id": 1, "text": text, "reply_to": None}
        envelope = Envelope(
            id=id or str(uuid4()), type=EventType.MESSAGE_CREATED.value, subject=f"room/{room}",
            time="2026-11-23T10:00:00.000Z", data=data,
        )  # fmt: skip
        return ReceivedRecord(
            Topic.MESSAGE_CREATED.value,
            0,
            next(self._offsets),
            f"room.{room}",
            envelope.encode(),
            {},
            1_790_000_000_000,
        )


def started() -> MessageStorage:
    storage = MessageStorage(epoch=1, on_stored=lambda *_: None)
    assert storage.start_offset(0) == 0
    return storage


def stored(room: Room) -> list[tuple[int | None, str]]:
    return [(row.seq, row.text) for row in Message.objects.in_room(room.pk).order_by("epoch", "offset")]


def test_a_repeat_is_stored_once_and_numbers_are_dense() -> None:
    """Within a batch and across batches; the first record wins."""
    room, log, storage, id = make_room(), Log(), started(), str(uuid4())
    storage.store([log.message(room.pk, "a", id=id), log.message(room.pk, "again", id=id), log.message(room.pk, "b")])
    storage.store([log.message(room.pk, "once more", id=id), log.message(room.pk, "c")])
    assert stored(room) == [(1, "a"), (2, "b"), (3, "c")]
    room.refresh_from_db()
    assert room.last_seq == 3


def test_who_re_uses_an_id_for_something_else_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    """It was seen live, and is in no history; a resend says the same. Nobody knows what a changed message said."""
    room, log, storage, ids = make_room(), Log(), started(), [str(uuid4()) for _ in range(3)]
    before = reused_total._value.get()
    storage.store([log.message(room.pk, "a", id=id) for id in ids])
    Message.objects.filter(uid=ids[2]).update(text="edited", changed_offset=1, changed_epoch=1)
    storage.store([log.message(room.pk, "a", id=ids[0]), log.message(room.pk, "a", id=ids[2])])
    assert reused_total._value.get() == before
    storage.store([log.message(room.pk, "else", id=ids[0]), log.message(room.pk, "new"), log.message(room.pk, "a")])
    assert reused_total._value.get() == before + 1
    assert [text for _, text in stored(room)] == ["a", "a", "edited", "new", "a"]
    assert "in room" in caplog.text and "else" not in caplog.text


def test_what_is_still_said_in_a_deleted_room_is_left_out_and_the_rest_is_stored() -> None:
    """A deletion while people talk is no fault of the records: they are neither stored nor set aside."""
    room, gone, log, storage = make_room(), make_room(), Log(), started()
    records = [log.message(gone.pk, "late"), log.message(room.pk, "a"), log.message(gone.pk, "later")]
    gone.delete()
    storage.store(records)
    assert stored(room) == [(1, "a")]
    assert ConsumedOffset.objects.get(topic=Topic.MESSAGE_CREATED, partition=0).next_offset == 3


def test_a_room_that_never_existed_makes_a_record_bad() -> None:
    """Nothing of the batch is stored, and the offset stays."""
    room, log, storage = make_room(), Log(), started()
    with pytest.raises(InvalidRecord, match=f"Room {room.pk + 1} does not exist"):
        storage.store([log.message(room.pk, "a"), log.message(room.pk + 1, "b")])
    assert stored(room) == [] and not ConsumedOffset.objects.exists()


def test_a_log_that_begins_again_is_not_stored_as_the_former_one() -> None:
    """Its offsets would be those of other records; the epoch is found anew first."""
    room, log, storage = make_room(), Log(), started()
    storage.store([log.message(room.pk, "a"), log.message(room.pk, "b")])
    with pytest.raises(OffsetConflict, match="goes on at 0 instead of 2"):
        storage.store([Log().message(room.pk, "another log")])
    assert stored(room) == [(1, "a"), (2, "b")]


def test_nothing_is_stored_under_an_epoch_that_has_ended() -> None:
    """A process that has not noticed yet that the log was created anew must not number the new one's messages."""
    topic = Topic.MESSAGE_CREATED.value
    assert epoch_of(topic, "first") == 1
    room, log, storage = make_room(), Log(), started()
    storage.store([log.message(room.pk, "a")])
    assert epoch_of(topic, "second") == 2  # as another process finds out
    with pytest.raises(OffsetConflict, match="is not stored up to 1"):
        storage.store([log.message(room.pk, "b")])
    assert storage.start_offset(0) == 0
    with pytest.raises(OffsetConflict, match="epoch 1 has ended"):
        storage.store([Log().message(room.pk, "of the new log")])
    assert stored(room) == [(1, "a")]

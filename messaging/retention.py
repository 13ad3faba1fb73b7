"""Deleting messages that are older than the chat is to remember: always a room's oldest ones, so that what is left has
no hole. Numbers (`seq`) are never given again, so unread counts stay right."""

from collections.abc import Callable
from datetime import datetime

from django.db import transaction
from django.db.models import Exists, OuterRef

from messaging.models import Message, PurgedPlace
from rooms.models import Room

BATCH = 1000  # rows deleted in one transaction

# Called with rooms.
Forget = Callable[[set[int]], None]


def purge_messages(*, before: datetime, forget: Forget, batch: int = BATCH) -> int:
    """Delete all messages and notices from before a moment; how many they were. May be interrupted and repeated.

    Rows are taken in the order in which they were stored, which is each room's order, up to the first one that is
    younger: after an outage a few old ones may be left to a later call. `forget` is called with the rooms of which no
    message is left; what it raises keeps their last ones.
    """
    deleted = 0
    while True:
        count = _purge_batch(before, forget, batch)
        deleted += count
        if count < batch:
            return deleted


@transaction.atomic
def _purge_batch(before: datetime, forget: Forget, batch: int) -> int:
    old: list[Message] = []
    oldest = Message.objects.order_by("pk").only("room_id", "epoch", "partition", "offset", "time")
    for row in oldest.select_for_update()[:batch]:
        if row.time >= before:
            break
        old.append(row)
    if old:
        _note_places(old)
        Message.objects.filter(pk__in=[row.pk for row in old]).delete()
        # Within the transaction: a crash behind it would leave the cached texts for good.
        forget(_empty_rooms({row.room_id for row in old}))
    return len(old)


def _empty_rooms(rooms: set[int]) -> set[int]:
    said = Message.objects.filter(room=OuterRef("pk"), kind=Message.Kind.MESSAGE)
    return set(Room.objects.filter(~Exists(said), pk__in=rooms).values_list("pk", flat=True))


def _note_places(rows: list[Message]) -> None:
    """In the same transaction: who resumes from before these places is told that rows are missing."""
    for partition in {row.partition for row in rows}:
        newest = max(row.cursor for row in rows if row.partition == partition)
        PurgedPlace.objects.update_or_create(
            partition=partition, defaults={"epoch": newest.epoch, "offset": newest.offset}
        )

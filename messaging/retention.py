"""Deleting messages that are older than the chat is to remember: always a room's oldest ones, so that what is left has
no hole. Numbers (`seq`) are never given again, so unread counts stay right."""

from datetime import datetime

from django.db import transaction

from messaging.models import Message, PurgedPlace

BATCH = 1000  # rows deleted in one transaction


def purge_messages(*, before: datetime, batch: int = BATCH) -> int:
    """Delete all messages and notices from before a moment; how many they were. May be interrupted and repeated.

    Rows are taken in the order in which they were stored, which is each room's order, up to the first one that is
    younger: after an outage a few old ones may be left to a later call.
    """
    deleted = 0
    while True:
        count = _purge_batch(before, batch)
        deleted += count
        if count < batch:
            return deleted


@transaction.atomic
def _purge_batch(before: datetime, batch: int) -> int:
    old: list[Message] = []
    oldest = Message.objects.order_by("pk").only("epoch", "partition", "offset", "time")
    for row in oldest.select_for_update()[:batch]:
        if row.time >= before:
            break
        old.append(row)
    if old:
        _note_places(old)
        Message.objects.filter(pk__in=[row.pk for row in old]).delete()
    return len(old)


def _note_places(rows: list[Message]) -> None:
    """In the same transaction: who resumes from before these places is told that rows are missing."""
    for partition in {row.partition for row in rows}:
        newest = max(row.cursor for row in rows if row.partition == partition)
        PurgedPlace.objects.update_or_create(
            partition=partition, defaults={"epoch": newest.epoch, "offset": newest.offset}
        )

from typing import ClassVar

from django.db import connection, models
from django.db.models.functions import Now

from events.errors import OffsetConflict

__all__ = ["ConsumedOffset", "DeadLetterDecision", "OffsetConflict", "advance_offset"]

# Without a row yet, the first to store decides where to begin. A second one waits for the first one's commit, and is
# then compared with it like everybody else.
BEGIN = """
    INSERT INTO events_consumedoffset (topic, partition, next_offset) VALUES (%(topic)s, %(partition)s, %(new)s)
    ON CONFLICT (topic, partition) DO UPDATE SET next_offset = EXCLUDED.next_offset
    WHERE events_consumedoffset.next_offset = %(expected)s
"""
# Whoever has stored already finds its row, or another log has begun.
ADVANCE = """
    UPDATE events_consumedoffset SET next_offset = %(new)s
    WHERE topic = %(topic)s AND partition = %(partition)s AND next_offset = %(expected)s
"""


class ConsumedOffset(models.Model):
    """How far a partition has been stored: kept beside the rows, so that both are committed or neither is."""

    topic = models.CharField(max_length=249)
    partition = models.IntegerField()
    # The offset of the next record to read.
    next_offset = models.BigIntegerField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["topic", "partition"], name="events_consumedoffset_partition"),
        ]

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.next_offset}"


class DeadLetterDecision(models.Model):
    """What somebody decided about a dead letter. Only `events.letter_box` writes these rows."""

    class Action(models.TextChoices):
        REPLAYED = "replayed"
        DROPPED = "dropped"

    offset = models.BigIntegerField(help_text="Place of the letter on the dead-letter topic.")
    # By the broker's clock. With the offset it names one letter, also after the topic was created anew.
    letter_time = models.DateTimeField()
    action = models.CharField(max_length=8, choices=Action.choices)
    by = models.CharField(max_length=150)
    at = models.DateTimeField(db_default=Now())
    origin = models.CharField(max_length=300, help_text="Where the record was from: topic, partition and offset.")
    reason = models.TextField(help_text="Why it was set aside.")

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["offset", "letter_time"], name="events_deadletter_decided_once"),
        ]
        ordering: ClassVar[list[str]] = ["-at"]

    def __str__(self) -> str:
        return f"Dead letter {self.offset}: {self.action} by {self.by}"


def advance_offset(topic: str, partition: int, expected: int, new: int) -> None:
    """Move the stored offset of a partition from `expected` (0: nothing is stored yet) to `new`, within the transaction
    that stores the rows.

    The row stays locked until that transaction ends. Raises `OffsetConflict` when the stored offset is another one:
    somebody else has stored meanwhile, or a failed-over database has lost what was stored.
    """
    values: dict[str, str | int] = {"topic": str(topic), "partition": partition, "expected": expected, "new": new}
    with connection.cursor() as cursor:
        cursor.execute(ADVANCE if expected else BEGIN, values)
        if cursor.rowcount == 0:
            raise OffsetConflict(f"{topic}[{partition}] is not stored up to {expected} (any more).")

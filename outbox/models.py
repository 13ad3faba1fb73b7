from typing import ClassVar
from uuid import uuid4

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

# Neither sent nor given up for good.
PENDING = Q(sent_at=None, discarded_at=None)
# Given up for good. Who discards, discards what is dead: said so, the index of the dead ones answers.
DISCARDED = Q(dead_at__isnull=False, discarded_at__isnull=False)


class OutboxEvent(models.Model):
    """An event that is to reach Kafka because the transaction that wrote this row was committed.

    Unsent → sent, or → dead after its last attempt. A dead row goes on blocking the later events of its aggregate until
    somebody decides: it is replayed (unsent again) or discarded (never to be sent).
    """

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    aggregate_type = models.CharField(max_length=64)
    aggregate_id = models.CharField(max_length=64)
    # Dense within an aggregate and in the order of the commits.
    version = models.BigIntegerField()
    type = models.CharField(max_length=100)
    subject = models.CharField(max_length=200)
    payload = models.JSONField()
    topic = models.CharField(max_length=249)
    key = models.CharField(max_length=200)
    created_at = models.DateTimeField(db_default=Now())
    # None: not acknowledged by Kafka yet.
    sent_at = models.DateTimeField(null=True, blank=True)
    # Refusals of this very record; times when Kafka could not be reached are not counted.
    attempts = models.PositiveIntegerField(default=0)
    # None: at once.
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    last_error = models.TextField(blank=True, default="")
    # Set after the last attempt.
    dead_at = models.DateTimeField(null=True, blank=True)
    # Set when somebody decided that a dead row is not to be sent.
    discarded_at = models.DateTimeField(null=True, blank=True)
    # The epoch of the poller that marked the row as sent.
    epoch = models.BigIntegerField(null=True, blank=True)

    class Meta:
        permissions = (("decide_outboxevent", "Can replay and discard dead events"),)
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["aggregate_type", "aggregate_id", "version"], name="outbox_event_version"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(
                fields=["aggregate_type", "aggregate_id", "version"],
                name="outbox_event_unsent",
                condition=PENDING,
            ),
            models.Index(fields=["created_at"], name="outbox_event_oldest", condition=PENDING),
            models.Index(fields=["sent_at"], name="outbox_event_purge", condition=Q(sent_at__isnull=False)),
            models.Index(F("dead_at").desc(), name="outbox_event_dead", condition=Q(dead_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.subject} version {self.version}"

    @property
    def state(self) -> str:
        if self.sent_at is not None:
            return "sent"
        if self.discarded_at is not None:
            return "discarded"
        if self.dead_at is not None:
            return "dead"
        return "retried" if self.attempts else "unsent"


class OutboxLease(models.Model):
    """Who may mark rows as sent: one row, whose `epoch` grows with each take-over."""

    id = models.SmallIntegerField(primary_key=True, default=1, editable=False)
    epoch = models.BigIntegerField(default=0)
    # Empty: released.
    holder = models.CharField(max_length=200, blank=True, default="")
    # By the database's clock.
    renewed_at = models.DateTimeField(db_default=Now())
    # Seconds without renewal after which others may take over, as the holder was granted them.
    life = models.FloatField(db_default=10.0)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(condition=Q(id=1), name="outbox_lease_one_row"),
        ]

    def __str__(self) -> str:
        return f"epoch {self.epoch}, held by {self.holder or 'nobody'}"

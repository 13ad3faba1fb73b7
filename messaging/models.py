"""Messages as they are stored, and the epochs of the log they come from."""

from collections.abc import Iterable
from typing import Any, Self

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.db.models import F, Func, Q, Value
from django.db.models.fields.json import KT, KeyTextTransform
from django.db.models.functions import Now, StrIndex
from django.db.models.lookups import GreaterThan, LessThan

from messaging.cursor import Cursor
from messaging.words import Query
from rooms.models import MAX_REASON, Room


class LogEpoch(models.Model):
    """The number given once to each incarnation of a topic, so that offsets of a re-created topic sort after the
    old ones: a room's order is (epoch, offset)."""

    topic = models.CharField(max_length=249)
    topic_id = models.CharField(max_length=36, help_text="Kafka's id of this incarnation (KIP-516).")
    epoch = models.IntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["topic", "topic_id"], name="log_epoch_once_per_topic_id"),
            models.UniqueConstraint(fields=["topic", "epoch"], name="log_epoch_unique"),
        ]

    def __str__(self) -> str:
        return f"{self.topic} epoch {self.epoch}"


class PurgedPlace(models.Model):
    """Up to where a partition's oldest messages were deleted: behind that a room is whole. Only `messaging.retention`
    writes these rows."""

    partition = models.IntegerField(unique=True)
    epoch = models.IntegerField()
    offset = models.BigIntegerField()

    def __str__(self) -> str:
        return f"partition {self.partition} is purged up to {self.epoch}-{self.offset}"


class MessageQuerySet(models.QuerySet["Message"]):
    def in_room(self, room_id: int) -> Self:
        return self.filter(room_id=room_id)

    def not_from(self, blocked: frozenset[str]) -> Self:
        """Without what these people said; notices stay."""
        return self.exclude(sender_name__in=blocked) if blocked else self

    def notices_naming(self, username: str) -> Self:
        """Notices of what a person did, or of what was done to the person."""
        named = self.filter(kind="notice").annotate(user=KT("notice__user"), by=KT("notice__by"))
        return named.filter(Q(user=username) | Q(by=username))

    def deleted_by_name(self, username: str) -> Self:
        return self.exclude(deleted_by="").filter(deleted_by=username)

    def after(self, cursor: Cursor) -> Self:
        """Rows behind `cursor` in the room's order."""
        return self.filter(GreaterThan(_place(F("epoch"), F("offset")), _place_of(cursor)))

    def made_between(self, after: Cursor, through: Cursor) -> Self:
        """Rows behind `after` up to `through`, which are of one epoch."""
        return self.filter(epoch=after.epoch, offset__gt=after.offset, offset__lte=through.offset)

    def changed_between(self, after: Cursor, through: Cursor) -> Self:
        """Rows whose last edit or deletion stands behind `after` up to `through`, which are of one epoch."""
        return self.filter(
            changed_epoch=after.epoch, changed_offset__gt=after.offset, changed_offset__lte=through.offset
        )

    def saying(self, query: Query, *, places: Iterable[str]) -> Self:
        """Messages that say all of a query's words in these places (`messaging.words`; none: everywhere), which only
        help the index: who may read them is asked apart from this."""
        wanted = Func(Value(query.tsquery(places)), template="%(expressions)s::tsquery")
        folded = Func(F("text"), template="normalize(%(expressions)s, NFKC)", output_field=models.TextField())
        phrases: list[Any] = [GreaterThan(StrIndex(folded, Value(phrase)), 0) for phrase in query.uncertain]
        return self.filter(_Matches(F("words"), wanted), *phrases)

    def before(self, cursor: Cursor) -> Self:
        """Rows ahead of `cursor` in the room's order."""
        return self.filter(LessThan(_place(F("epoch"), F("offset")), _place_of(cursor)))


class _Matches(Func):
    template = "(%(expressions)s)"
    arg_joiner = " @@ "
    output_field = models.BooleanField()


def _place(epoch: F | Value, offset: F | Value) -> Func:
    """Epoch and offset as one value. PostgreSQL finds `(epoch, offset) > (1, 7)` in the index; the same said with AND
    and OR makes it read a room's rows one by one up to the cursor."""
    return Func(epoch, offset, function="ROW", output_field=models.BooleanField())


def _place_of(cursor: Cursor) -> Func:
    return _place(Value(cursor.epoch), Value(cursor.offset))


class WithoutWords(models.Manager["Message"]):
    def get_queryset(self) -> "models.QuerySet[Message]":
        """Nobody but PostgreSQL reads the words."""
        return super().get_queryset().defer("words")


class Message(models.Model):
    """A message or a notice of a room's log, stored once. Only `messaging.storage` writes these rows."""

    class Kind(models.TextChoices):
        MESSAGE = "message"
        NOTICE = "notice"

    room = models.ForeignKey(Room, on_delete=models.CASCADE, related_name="messages", db_index=False)
    uid = models.UUIDField(help_text="The id that the sender gave; unique in the room.")
    kind = models.CharField(max_length=7, choices=Kind.choices)
    epoch = models.IntegerField(help_text="Epoch of the log.")
    partition = models.IntegerField(help_text="Partition of the log; the same for all messages of a room.")
    offset = models.BigIntegerField(help_text="Place of the record in its partition.")
    seq = models.BigIntegerField(null=True, help_text="1, 2, 3 … for people's messages of a room; null for notices.")
    sender = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+", db_constraint=False
    )
    sender_name = models.CharField(max_length=20)
    text = models.TextField()
    reply_to = models.CharField(max_length=64, null=True)  # noqa: DJ001 (null: no reply; the text is kept as given)
    notice = models.JSONField(null=True, help_text="What a notice tells: event, user, name, by.")
    time = models.DateTimeField(help_text="The broker's time stamp of the record.")
    edited_at = models.DateTimeField(null=True)
    edited_by = models.CharField(max_length=20, default="", db_default="")
    deleted_at = models.DateTimeField(null=True, help_text="Then the text is empty, for good.")
    deleted_by = models.CharField(max_length=20, default="", db_default="")
    changed_epoch = models.IntegerField(null=True, help_text="Epoch of the last edit or deletion; null: none.")
    changed_offset = models.BigIntegerField(null=True, help_text="Place of the last edit or deletion in the partition.")
    edit_ids = models.JSONField(null=True, help_text="Ids of the records of the newest edits, to know a repeat.")

    words = SearchVectorField(null=True, help_text="What the search knows of the text; null: not indexed, or a notice.")

    objects = WithoutWords.from_queryset(MessageQuerySet)()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["room", "uid"], name="message_once_per_room")]
        indexes = [
            models.Index(fields=["room", "epoch", "offset"], name="message_room_order"),
            models.Index(
                fields=["room", "changed_epoch", "changed_offset"],
                name="message_room_changes",
                condition=models.Q(changed_epoch__isnull=False),
            ),
            # Where somebody is named whose name is to be shown to that person, or forgotten.
            models.Index(
                KeyTextTransform("user", "notice"), name="message_notice_user", condition=models.Q(kind="notice")
            ),
            models.Index(KeyTextTransform("by", "notice"), name="message_notice_by", condition=models.Q(kind="notice")),
            models.Index(fields=["deleted_by"], name="message_deleted_by", condition=~models.Q(deleted_by="")),
            GinIndex(fields=["words"], name="message_words"),
        ]
        ordering = ["room", "epoch", "offset"]

    def __str__(self) -> str:
        return f"{self.kind} {self.uid} in room {self.room_id}"

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.epoch, self.partition, self.offset)

    @property
    def changed(self) -> Cursor | None:
        """The place of the last edit or deletion; None: the message is as it was sent."""
        if self.changed_epoch is None or self.changed_offset is None:
            return None
        return Cursor(self.changed_epoch, self.partition, self.changed_offset)


class ReportQuerySet(models.QuerySet["Report"]):
    def open_in(self, room_id: int) -> Self:
        """Reports of what still stands in a room: deleting the message settles them."""
        return self.filter(message__room_id=room_id, message__deleted_at=None)


class Report(models.Model):
    """A person finds that a message should be looked at; once. Only `messaging.reports` writes these rows."""

    # PostgreSQL deletes a report with its message (migration 0008). Django would read each message of a room that is
    # deleted, to look for reports.
    message = models.ForeignKey(Message, on_delete=models.DO_NOTHING, related_name="reports")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="reports")
    reason = models.CharField(max_length=MAX_REASON)
    created_at = models.DateTimeField(db_default=Now())

    objects = ReportQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["message", "by"], name="reported_once")]

    def __str__(self) -> str:
        return f"{self.by} reports {self.message}"

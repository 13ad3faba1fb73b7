"""The one door into the outbox."""

from collections.abc import Collection, Mapping
from functools import reduce
from operator import or_
from typing import Any
from uuid import UUID

from django.db import connection, models
from django.db.models import Q
from django.db.models.functions import Now
from django.db.transaction import TransactionManagementError

from events.schemas import EventType, check_data
from events.topics import Topic
from outbox.models import PENDING, OutboxEvent

# Where payloads name people.
NAMING_FIELDS = ("id", "owner", "user", "by")
PEOPLE = "people"
# The channel of PostgreSQL's NOTIFY that wakes the poller.
CHANNEL = "outbox"


# Who may call this: a service (or a step that services share), in the transaction that writes the aggregate, after the
# write and before a deletion. Nobody else: a view, a consumer or a command calls the service.
# What each call owes: a test that the event is there when the service returns, and that neither row nor event is there
# when it raises. Test with real transactions (`transaction=True`): inside `TestCase` the guard below is blind.
def record_event(
    *, aggregate: models.Model, topic: Topic, key: str, type: EventType, data: Mapping[str, Any]
) -> OutboxEvent:
    """Record that something happened to `aggregate`; Kafka hears of it if, and only if, the transaction commits.

    `aggregate` has a `version`, which is raised by one: its row stays locked until the commit, so the order of the
    versions is the order of the commits. Raises `TransactionManagementError` outside a transaction,
    `pydantic.ValidationError` (a `ValueError`) for data that does not fit `type`, and the model's `DoesNotExist`.
    """
    if not connection.in_atomic_block:
        raise TransactionManagementError(
            f"{type} was to be recorded outside a transaction: call record_event in the atomic block that writes"
            f" the {aggregate._meta.model_name}."
        )
    checked = check_data(type, data)
    event = OutboxEvent.objects.create(
        aggregate_type=str(aggregate._meta.model_name),
        aggregate_id=str(aggregate.pk),
        version=_next_version(aggregate),
        type=type.value,
        subject=checked.subject,
        payload=checked.model_dump(),
        topic=topic.value,
        key=key,
    )
    _call_poller()
    return event


# Called by the admin, in a transaction that also writes down who decided.
def replay_dead_step(ids: Collection[UUID]) -> list[OutboxEvent]:
    """Let the poller try dead rows again, as if for the first time; those of `ids` that were dead."""
    return _decide(ids, dead_at=None, attempts=0, next_attempt_at=None)


def discard_dead_step(ids: Collection[UUID]) -> list[OutboxEvent]:
    """Never send dead rows, so that the later ones of their aggregates go on; those of `ids` that were dead."""
    return _decide(ids, discarded_at=Now())


# Called for somebody who is erased, in a transaction.
def rename_in_outbox_step(old: str, new: str, *, limit: int) -> int:
    """Put another name in the place of a person's, in what at most `limit` rows carry; how many they were. Kafka keeps
    what was sent."""
    mentions = [Q(payload__contains={field: old}) for field in NAMING_FIELDS] + [Q(payload__contains={PEOPLE: [old]})]
    # Locked in one order, as everywhere.
    rows = list(OutboxEvent.objects.filter(reduce(or_, mentions)).order_by("pk").select_for_update()[:limit])
    for row in rows:
        row.payload = _rename(row.payload, old, new)
        row.subject = f"user/{new}" if row.subject == f"user/{old}" else row.subject
        row.key = new if row.key == old else row.key
    OutboxEvent.objects.bulk_update(rows, ["payload", "subject", "key"])
    return len(rows)


def _rename(payload: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    renamed = payload | {field: new for field in NAMING_FIELDS if payload.get(field) == old}
    if people := payload.get(PEOPLE):
        # The name of a direct room is made of theirs.
        renamed[PEOPLE] = [new if name == old else name for name in people]
        renamed["name"] = ", ".join(renamed[PEOPLE])
    return renamed


def _decide(ids: Collection[UUID], **changes: Any) -> list[OutboxEvent]:
    dead = OutboxEvent.objects.filter(PENDING, pk__in=ids, dead_at__isnull=False)
    # Locked in one order: the second of two who decide at once finds nothing left to decide.
    rows = list(dead.order_by("pk").select_for_update())
    OutboxEvent.objects.filter(pk__in=[row.pk for row in rows]).update(**changes)
    _call_poller()
    return rows


def _call_poller() -> None:
    """Heard when the transaction commits."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, '')", [CHANNEL])


def _next_version(aggregate: models.Model) -> int:
    quote, meta = connection.ops.quote_name, aggregate._meta
    table, pk = quote(meta.db_table), quote(meta.pk.column)
    with connection.cursor() as cursor:
        # Only names of the model's own table and column are put into the text.
        cursor.execute(
            f"UPDATE {table} SET version = version + 1 WHERE {pk} = %s RETURNING version",  # noqa: S608
            [aggregate.pk],
        )
        row = cursor.fetchone()
    if row is None:
        raise type(aggregate).DoesNotExist(f"The {meta.model_name} {aggregate.pk} is gone; record before deleting.")  # type: ignore[attr-defined]
    aggregate.version = row[0]  # type: ignore[attr-defined]
    return int(row[0])

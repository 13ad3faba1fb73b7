"""The one door into the outbox."""

from collections.abc import Mapping
from typing import Any

from django.db import connection, models
from django.db.transaction import TransactionManagementError

from events.schemas import EventType, check_data
from events.topics import Topic
from outbox.models import OutboxEvent

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
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, '')", [CHANNEL])
    return event


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

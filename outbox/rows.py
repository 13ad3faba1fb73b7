"""Reading the outbox and writing down what became of its rows, in the words of PostgreSQL.

What is written at a row carries the epoch of its writer and checks it against the lease row in the same statement. That
row is locked for the moment, so a take-over comes either before the write, which then does nothing, or after it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection

# The rows that wait; in the words of Django `models.PENDING`.
WAITS = "sent_at IS NULL AND discarded_at IS NULL"
# How many versions of one aggregate are read together. Each waits for the acknowledgement of the one before it.
RUN = 20

# S608, here and below: the only texts put in are constants of this module.
# One pass over what is unsent. Looking the head up for each row is quadratic whenever the planner believes, from its
# last statistics, that next to nothing is unsent: 748 ms against 14 ms for 5,000 rows.
# The first of each aggregate comes first, then the second of each: no aggregate keeps the others waiting. A row that
# waits or is dead is the head of its aggregate, and blocks it.
READ = f"""
    WITH unsent AS (
        SELECT id, created_at, row_number() OVER run AS place, version - first_value(version) OVER run AS distance,
            first_value(dead_at IS NOT NULL OR next_attempt_at > clock_timestamp()) OVER run AS blocked
        FROM outbox_outboxevent WHERE {WAITS}
        WINDOW run AS (PARTITION BY aggregate_type, aggregate_id ORDER BY version)
    ), chosen AS (
        SELECT id, place, created_at FROM unsent
        WHERE blocked IS NOT TRUE AND place = distance + 1 AND place <= %(run)s
        ORDER BY place, created_at LIMIT %(limit)s
    )
    SELECT id, aggregate_type, aggregate_id, version, type, subject, payload::text, topic, key, event.created_at,
        attempts
    FROM chosen JOIN outbox_outboxevent event USING (id) ORDER BY place, chosen.created_at
"""  # noqa: S608
LEASE = "SELECT FROM outbox_outboxlease WHERE id = 1 AND epoch = %(epoch)s AND holder = %(holder)s FOR SHARE"
MARK_SENT = f"""
    WITH lease AS ({LEASE}), marked AS (
        UPDATE outbox_outboxevent SET sent_at = clock_timestamp(), epoch = %(epoch)s, last_error = ''
        WHERE id = ANY(%(ids)s) AND {WAITS} AND EXISTS (SELECT FROM lease)
        RETURNING extract(epoch FROM clock_timestamp() - created_at)::float8 AS seconds
    )
    SELECT EXISTS (SELECT FROM lease), (SELECT array_agg(seconds) FROM marked)
"""  # noqa: S608
MARK_FAILED = f"""
    WITH lease AS ({LEASE}), marked AS (
        UPDATE outbox_outboxevent SET
            attempts = failed.attempts,
            last_error = failed.error,
            next_attempt_at = clock_timestamp() + make_interval(secs => failed.wait),
            dead_at = CASE WHEN failed.dead THEN clock_timestamp() END
        FROM unnest(%(ids)s::uuid[], %(attempts)s::int[], %(errors)s::text[], %(waits)s::float8[], %(dead)s::bool[])
            AS failed(id, attempts, error, wait, dead)
        WHERE outbox_outboxevent.id = failed.id AND {WAITS} AND EXISTS (SELECT FROM lease)
        RETURNING 1
    )
    SELECT EXISTS (SELECT FROM lease), (SELECT count(*) FROM marked)
"""  # noqa: S608
# Discarded rows are among the dead ones, of which there are few, with an index of their own.
PURGE = """
    DELETE FROM outbox_outboxevent WHERE id IN (
        (SELECT id FROM outbox_outboxevent WHERE sent_at < clock_timestamp() - make_interval(secs => %(seconds)s)
         ORDER BY sent_at LIMIT %(limit)s)
        UNION ALL
        (SELECT id FROM outbox_outboxevent
         WHERE dead_at IS NOT NULL AND discarded_at < clock_timestamp() - make_interval(secs => %(seconds)s)
         LIMIT %(limit)s)
        LIMIT %(limit)s
    )
"""
MEASURE = f"""
    SELECT count(*), count(dead_at), coalesce(extract(epoch FROM clock_timestamp() - min(created_at))::float8, 0)
    FROM outbox_outboxevent WHERE {WAITS}
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Row:
    """An unsent row, as much of it as the poller needs."""

    id: UUID
    aggregate_type: str
    aggregate_id: str
    version: int
    type: str
    subject: str
    payload: str  # as PostgreSQL has it; whoever puts it in by hand may put in what is no JSON to others
    topic: str
    key: str
    created_at: datetime
    # Refusals so far.
    attempts: int

    @property
    def aggregate(self) -> tuple[str, str]:
        return self.aggregate_type, self.aggregate_id


@dataclass(frozen=True, slots=True)
class Failure:
    """What is to be written at a row that was not sent: `wait` in seconds."""

    id: UUID
    attempts: int
    error: str
    wait: float
    dead: bool


class Fenced(Exception):
    """The write was rejected: somebody else has taken over, with a higher epoch."""


def read_unsent(limit: int) -> list[Row]:
    """Rows that may be produced now: the head of each aggregate, then what follows it without a gap, in the order of
    the versions."""
    with connection.cursor() as cursor:
        cursor.execute(READ, {"limit": limit, "run": RUN})
        return [_row(columns) for columns in cursor.fetchall()]


def mark_sent(ids: Sequence[UUID], *, epoch: int, holder: str) -> list[float]:
    """Mark rows whose records Kafka has acknowledged; the age of each in seconds. Raises `Fenced`."""
    with connection.cursor() as cursor:
        cursor.execute(MARK_SENT, {"ids": list(ids), "epoch": epoch, "holder": holder})
        ours, ages = cursor.fetchone()
    if not ours:
        raise Fenced
    return list(ages or ())


def mark_failed(failures: Sequence[Failure], *, epoch: int, holder: str) -> None:
    """Write down why rows were not sent, and when they may be tried again. Raises `Fenced`."""
    values: dict[str, Any] = {
        "ids": [failure.id for failure in failures],
        "attempts": [failure.attempts for failure in failures],
        "errors": [failure.error for failure in failures],
        "waits": [failure.wait for failure in failures],
        "dead": [failure.dead for failure in failures],
    }
    with connection.cursor() as cursor:
        cursor.execute(MARK_FAILED, {**values, "epoch": epoch, "holder": holder})
        if not cursor.fetchone()[0]:
            raise Fenced


def purge_settled(*, older_than: timedelta, limit: int) -> int:
    """Delete the oldest of the rows that were sent or discarded long ago; how many they were."""
    with connection.cursor() as cursor:
        cursor.execute(PURGE, {"seconds": older_than.total_seconds(), "limit": limit})
        return int(cursor.rowcount)


def measure_pending() -> tuple[int, int, float]:
    """How many rows are neither sent nor discarded, how many of them are dead, and the age of the oldest in seconds."""
    with connection.cursor() as cursor:
        cursor.execute(MEASURE)
        pending, dead, oldest = cursor.fetchone()
    return pending, dead, oldest


def _row(columns: tuple[Any, ...]) -> Row:
    return Row(**dict(zip(Row.__slots__, columns, strict=True)))

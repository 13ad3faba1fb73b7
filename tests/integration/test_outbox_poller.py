"""The poller: committed rows to Kafka, in order, whatever fails."""

from collections.abc import Iterator
from datetime import timedelta
from statistics import quantiles
from time import monotonic

import pytest
from django.db import connection, transaction
from django.utils import timezone

from events.topics import Topic
from outbox import metrics
from outbox.lease import LOCK_NAME
from outbox.models import OutboxEvent, OutboxLease
from tests.acceptance.processes import wait_for
from tests.integration.outbox_support import (
    PATIENCE,
    Thing,
    all_sent,
    assert_whole,
    commit_events,
    make_patient_poller,
    make_poller,
    make_publisher,
    make_redis,
    reading,
    record,
    running,
    thing_table,
    topic_limit,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def things(transactional_db: None) -> Iterator[None]:
    make_redis().delete(LOCK_NAME)
    with thing_table():
        yield


def test_a_committed_event_reaches_kafka_with_its_envelope_and_headers() -> None:
    """Key, id, type, version and epoch are there, and the row says that it is done."""
    with reading() as reader, running(make_patient_poller()):
        (event,) = commit_events(1)
        wait_for(all_sent, "the mark")
        reader.read_to_end()
    envelope, headers = reader.records[-1]
    event.refresh_from_db()
    epoch = OutboxLease.objects.get().epoch
    assert (envelope.id, envelope.type, envelope.version) == (str(event.id), event.type, 1)
    assert (envelope.source, envelope.subject, envelope.data) == ("chat", event.subject, event.payload)
    assert headers == {
        "id": str(event.id).encode(), "type": event.type.encode(), "version": b"1", "epoch": str(event.epoch).encode()
    }  # fmt: skip
    assert event.epoch == epoch and event.sent_at is not None and event.attempts == 0


def test_what_was_rolled_back_is_never_sent() -> None:
    """None without a commit."""
    with reading() as reader, running(make_poller()):
        thing = Thing.objects.create()
        with transaction.atomic():
            never = record(thing)
            transaction.set_rollback(True)
        (event,) = commit_events(1)
        reader.read_all({event.id})
    assert str(never.id) not in {envelope.id for envelope, _ in reader.records}


def test_events_recorded_without_a_poller_wait_and_come_in_order() -> None:
    """20 aggregates with 30 versions each, in batches smaller than that."""
    events = commit_events(30, things=20)
    with reading() as reader, running(make_patient_poller(batch=64)):
        wait_for(all_sent, "the marks")
        reader.read_to_end()
    assert_whole(reader.versions_seen(), events)
    assert len(reader.records) == len(events), "Nothing failed, so nothing was sent twice."


def test_two_pollers_at_once_hand_over_without_loss() -> None:
    """Readers see each event once, also when the holder leaves in the middle."""
    with reading() as reader:
        with running(make_poller()) as first, running(make_poller()):
            wait_for(lambda: OutboxLease.objects.filter(holder__startswith="test-").exists(), "a holder")
            events = commit_events(10, things=10)
            first.stop()
            events += commit_events(10, things=10)
            reader.read_all({event.id for event in events})
            wait_for(all_sent, "the marks")
        assert_whole(reader.versions_seen(), events)


def test_redis_away_still_publishes() -> None:
    """The lease row alone decides."""
    with reading() as reader, running(make_poller(redis=make_redis("redis://127.0.0.1:1/0"))):
        events = commit_events(5, things=3)
        reader.read_all({event.id for event in events})
    assert_whole(reader.versions_seen(), events)


def test_lost_database_connections_are_made_anew() -> None:
    """All of them are cut, the listening one included: within a few seconds events flow again."""
    with reading() as reader, running(make_poller()):
        events = commit_events(1)
        reader.read_all({event.id for event in events})
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        more = commit_events(5, things=2)
        reader.read_all({event.id for event in more})
        wait_for(all_sent, "the marks")
    assert_whole(reader.versions_seen(), [*events, *more])


def test_a_row_that_is_refused_blocks_its_aggregate_only_and_ends_as_a_dead_letter() -> None:
    """Too large to send: two attempts, then dead; what follows it waits, everybody else flows."""
    dead = metrics.DEAD._value.get()
    blocked = Thing.objects.create()
    with transaction.atomic(durable=True):
        before = record(blocked)
    with transaction.atomic(durable=True):
        large = record(blocked, text="x" * 5000)
    with transaction.atomic(durable=True):
        behind = record(blocked)
    others = commit_events(3, things=3)
    # The producer's own limit: the refusal comes from produce().
    poller = make_poller(max_attempts=2, publisher=make_publisher(**{"message.max.bytes": 4000}))
    with reading() as reader, running(poller):
        reader.read_all({before.id} | {event.id for event in others})
        wait_for(lambda: OutboxEvent.objects.filter(dead_at__isnull=False).exists(), "the dead letter")
        others += commit_events(2, things=2)
        reader.read_all({event.id for event in others})
    large.refresh_from_db()
    behind.refresh_from_db()
    assert large.attempts == 2 and "MSG_SIZE_TOO_LARGE" in large.last_error and large.sent_at is None
    assert behind.sent_at is None and behind.attempts == 0
    assert reader.versions_seen()[before.subject] == [1]
    assert metrics.DEAD._value.get() == dead + 1


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("payload", '{"a": 1e400}'), ("payload", "[" * 300 + "]" * 300), ("payload", '["diary"]'),
        ("topic", "nowhere"),
    ],
    ids=["a number too large", "nested too deeply", "no object", "no topic of ours"],
)  # fmt: skip
def test_a_row_that_is_no_event_ends_as_a_dead_letter_and_stops_nobody(column: str, value: str) -> None:
    """Put in by somebody's SQL; what people wrote is not in its error."""
    (event,) = commit_events(1)
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE outbox_outboxevent SET {column} = %s WHERE id = %s", [value, event.id])  # noqa: S608
    others = commit_events(1, things=2)
    with reading() as reader, running(make_poller(max_attempts=1)):
        reader.read_all({other.id for other in others})
        wait_for(lambda: OutboxEvent.objects.filter(dead_at__isnull=False).exists(), "the dead letter")
    event.refresh_from_db(fields=["last_error"])
    assert event.last_error and "diary" not in event.last_error


def test_a_broker_that_refuses_a_record_keeps_the_next_versions_back() -> None:
    """The topic's limit, which only the broker knows: version 3 never overtakes the refused version 2, and the rows
    that shared its batch are sent."""
    blocked = Thing.objects.create()
    events = []
    for text in ("", "x" * 5000, ""):
        with transaction.atomic(durable=True):
            events.append(record(blocked, text=text, topic=Topic.ROOM_NOTIFICATION))
    topic, poller = Topic.ROOM_NOTIFICATION, make_poller(max_attempts=2)
    with topic_limit(topic, 2000), reading(topic) as reader, running(poller):
        reader.read_all({events[0].id})
        wait_for(lambda: OutboxEvent.objects.filter(dead_at__isnull=False).exists(), "the dead letter")
        reader.read(0.5)
    assert reader.versions_seen() == {events[0].subject: [1]}
    assert [OutboxEvent.objects.get(pk=event.pk).sent_at is None for event in events] == [False, True, True]


def test_a_poller_that_stands_by_tells_how_old_the_lease_is() -> None:
    """By the database's clock: so it is heard of when the one that holds it hangs."""
    renewed_at = timezone.now() - timedelta(seconds=100)
    OutboxLease.objects.update_or_create(pk=1, defaults={"holder": "hangs", "life": 600, "renewed_at": renewed_at})
    with running(make_poller()) as poller:
        wait_for(lambda: metrics.LEASE_AGE._value.get() >= 100, "the age")
        assert metrics.LEASE_AGE._value.get() < 100 + PATIENCE and not poller.leads()


def test_rows_sent_long_ago_are_purged() -> None:
    """Unsent and young ones stay."""
    commit_events(3, things=2)
    old = timezone.now() - timedelta(days=2)
    OutboxEvent.objects.filter(version=1).update(sent_at=old)
    with running(make_poller(batch=1)):
        wait_for(lambda: not OutboxEvent.objects.filter(version=1).exists(), "the purge")
        wait_for(all_sent, "the marks")
    assert OutboxEvent.objects.count() == 4


def test_latency_from_commit_to_kafka(capsys: pytest.CaptureFixture[str]) -> None:
    """Measured, not asserted: an event on an idle system, from its commit to its reader."""
    seconds = []
    with reading() as reader, running(make_poller()):
        reader.read_all({commit_events(1)[0].id})
        for _ in range(100):
            (event,) = commit_events(1)
            committed = monotonic()
            reader.read_all({event.id})
            seconds.append(monotonic() - committed)
    cuts = quantiles(seconds, n=100)
    with capsys.disabled():
        print(f"\ncommit → Kafka → reader, 100 events: p50 {cuts[49] * 1000:.1f} ms, p99 {cuts[98] * 1000:.1f} ms")


def test_throughput_of_a_backlog(capsys: pytest.CaptureFixture[str]) -> None:
    """Measured, not asserted: 5,000 rows of 500 aggregates."""
    things = Thing.objects.bulk_create(Thing() for _ in range(500))
    with transaction.atomic():
        for _ in range(10):
            for thing in things:
                record(thing)
    started = monotonic()
    with running(make_poller()):
        wait_for(all_sent, "the marks")
    rate = 5000 / (monotonic() - started)
    with capsys.disabled():
        print(f"\nbacklog of 5,000 rows drained at {rate:,.0f} rows/s")

"""The audit: the committed rows against what is in Kafka, each kind of error made by hand."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO
from threading import Event
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection, transaction

from devstack import DevStack
from events.provisioning import create_topics
from events.topics import TOPICS, Topic
from outbox import metrics
from outbox.audit import AUDITED, BATCH, Audit, Findings, Kind, database_now
from outbox.auditor import Auditor
from outbox.lease import LOCK_NAME
from outbox.management.commands.audit_outbox import COLUMNS
from outbox.models import OutboxEvent
from outbox.rows import Row
from tests.acceptance.processes import DEADLINE, ROOT, wait_for
from tests.integration.outbox_support import (
    PATIENCE,
    Thing,
    all_sent,
    commit_events,
    commit_rounds,
    make_patient_poller,
    make_poller,
    make_publisher,
    make_redis,
    record,
    running,
    thing_table,
)

pytestmark = pytest.mark.django_db(transaction=True)
RETENTION = timedelta(days=7)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Kafka of its own: other tests leave records there whose rows are gone."""
    with DevStack(tmp_path_factory.mktemp("broker"), services=("kafka",)) as stack:
        yield stack.addresses()["KAFKA_BOOTSTRAP_SERVERS"]


@pytest.fixture(autouse=True)
def nothing(transactional_db: None, broker: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Empty topics."""
    monkeypatch.setattr(settings, "KAFKA_BOOTSTRAP_SERVERS", broker)
    make_redis().delete(LOCK_NAME)
    create_topics(broker, replication=1, topics={topic: TOPICS[topic] for topic in AUDITED})
    with thing_table():
        yield
    admin = AdminClient({"bootstrap.servers": broker})
    for future in admin.delete_topics(list(AUDITED), operation_timeout=PATIENCE).values():
        future.result(PATIENCE)
    wait_for(lambda: not {*AUDITED} & {*admin.list_topics(timeout=PATIENCE).topics}, "the end of the topics")


def audit(*arguments: str) -> tuple[int, dict[str, int], str]:
    """The command's exit status, its sums and what it printed."""
    output = StringIO()
    try:
        call_command("audit_outbox", *arguments, stdout=output)
        status, error = 0, ""
    except CommandError as raised:
        status, error = raised.returncode, str(raised)
    text = output.getvalue()
    sums = next((line.split()[1:] for line in text.splitlines() if line.startswith("sum")), [])
    return status, dict(zip(COLUMNS, map(int, sums), strict=bool(sums))), text + error


def counts(**named: int) -> dict[str, int]:
    """The columns with these values, all others zero."""
    return dict.fromkeys(COLUMNS, 0) | {name.replace("_", " "): count for name, count in named.items()}


def produce(*events: OutboxEvent) -> None:
    """As the poller does, without marking the rows."""
    for event in events:
        row = Row(**{name: getattr(event, name) for name in Row.__slots__} | {"payload": json.dumps(event.payload)})
        assert make_publisher(timeout=PATIENCE).publish([row], epoch=1) == {event.id: None}


def mark(*events: OutboxEvent) -> None:
    OutboxEvent.objects.filter(id__in=[event.id for event in events]).update(sent_at=database_now())


@contextmanager
def auditing(**more: Any) -> Iterator[Auditor]:
    options = {"leads": lambda: True, "retention": RETENTION, "interval": 0.2, **more}
    auditor = Auditor(settings.KAFKA_BOOTSTRAP_SERVERS, **options)
    auditor.start()
    try:
        yield auditor
    finally:
        auditor.close()


def wait_for_audit() -> None:
    """Until an audit has ended that began after this call."""
    for _ in range(2):
        last = metrics.AUDITED._value.get()
        wait_for(lambda last=last: metrics.AUDITED._value.get() > last, "an audit")


def test_what_the_poller_sent_agrees_and_what_waits_is_no_error() -> None:
    with running(make_patient_poller()):
        commit_events(10, things=5)
        wait_for(all_sent, "the marks")
    commit_events(1, things=3)
    status, sums, text = audit()
    assert (status, sums) == (0, counts(committed=53, sent=50, pending=3, read_back=50)), text


def test_a_row_marked_as_sent_without_a_record_is_missing() -> None:
    (event,) = commit_events(1)
    mark(event)
    status, sums, text = audit()
    assert (status, sums) == (1, counts(committed=1, sent=1, missing=1))
    assert f"missing: {event.id} {event.topic} {event.subject} version 1" in text
    assert "do not agree: 1 missing." in text


def test_a_record_without_a_committed_row_is_unexpected() -> None:
    thing = Thing.objects.create()
    with transaction.atomic():
        event = record(thing, text="What people write is never shown.")
        transaction.set_rollback(True)
    produce(event)
    status, sums, text = audit()
    assert (status, sums) == (1, counts(unexpected=1))
    assert f"unexpected: {event.id} {event.topic} version 1" in text
    assert "people" not in text


def test_a_record_that_says_that_it_is_old_is_unexpected_all_the_same() -> None:
    with transaction.atomic():
        event = record(Thing.objects.create())
        transaction.set_rollback(True)
    event.created_at -= timedelta(days=9_000)
    produce(event)
    assert audit()[:2] == (1, counts(unexpected=1))


def test_a_version_behind_a_higher_one_is_out_of_order() -> None:
    first, second = commit_events(2)
    produce(second, first)
    mark(first, second)
    status, sums, text = audit()
    assert (status, sums) == (1, counts(committed=2, sent=2, read_back=2, out_of_order=1))
    assert f"out of order: {first.id} {first.topic} {first.subject} version 1" in text


def test_a_repeated_record_is_shown_and_no_error() -> None:
    first, second = commit_events(2)
    produce(first, second, first, second)
    mark(first, second)
    assert audit()[:2] == (0, counts(committed=2, sent=2, read_back=2, repeated=2))


def test_what_comes_long_after_its_mark_is_a_repeat_and_not_out_of_order() -> None:
    """Such as a replayed dead letter: the audit may have forgotten the first one. Here there was none."""
    first, second = commit_events(2)
    now = database_now()
    OutboxEvent.objects.update(created_at=now - timedelta(minutes=20), sent_at=now - timedelta(minutes=19))
    produce(second, first)
    assert audit()[1] == counts(committed=2, sent=2, missing=2, repeated=2)


def test_more_offenders_than_are_listed_are_counted() -> None:
    mark(*commit_events(1, things=25))
    status, sums, text = audit()
    assert (status, sums["missing"], text.count("missing: ")) == (1, 25, 21)
    assert "missing: and 5 more" in text


def test_records_that_are_not_the_outboxs_are_left_alone() -> None:
    producer = Producer({"bootstrap.servers": settings.KAFKA_BOOTSTRAP_SERVERS})
    producer.produce(Topic.MESSAGE_CREATED, b"{}", key="room.1", headers={"id": str(uuid4())})
    producer.produce(Topic.ROOM_NOTIFICATION, b"no JSON", key="rooms")
    assert producer.flush(PATIENCE) == 0
    assert audit()[:2] == (0, counts())


def delete_records(topic: Topic) -> None:
    ends = [TopicPartition(topic, number, -1) for number in range(3)]
    admin = AdminClient({"bootstrap.servers": settings.KAFKA_BOOTSTRAP_SERVERS})
    for future in admin.delete_records(ends).values():
        future.result(PATIENCE)


def test_what_somebody_deleted_from_kafka_is_missing() -> None:
    with running(make_poller()):
        commit_events(2, things=2)
        wait_for(all_sent, "the marks")
    delete_records(Topic.MESSAGE_CREATED)
    assert audit()[:2] == (1, counts(committed=4, sent=4, missing=4))


def test_what_kafka_deleted_after_the_topics_retention_is_not_missing() -> None:
    thing = Thing.objects.create()
    with transaction.atomic(durable=True):
        event = record(thing, topic=Topic.ROOM_NOTIFICATION)
    with running(make_poller(retention=RETENTION)):
        wait_for(all_sent, "the mark")
    old = event.created_at - TOPICS[Topic.ROOM_NOTIFICATION].retention - timedelta(hours=1)
    OutboxEvent.objects.filter(pk=event.pk).update(created_at=old, sent_at=old)
    delete_records(Topic.ROOM_NOTIFICATION)
    assert audit("--minutes", "2880")[:2] == (0, counts(committed=1, sent=1, past_retention=1))


def test_what_was_published_past_the_outbox_is_unexpected() -> None:
    """On topics that nobody else writes, also without the outbox's headers."""
    producer = Producer({"bootstrap.servers": settings.KAFKA_BOOTSTRAP_SERVERS})
    producer.produce(Topic.ROOM_CREATED, b"{}", key="1")
    assert producer.flush(PATIENCE) == 0
    status, sums, text = audit()
    assert (status, sums) == (1, counts(unexpected=1)) and "chat.room.created[" in text


def test_a_discarded_row_is_not_expected() -> None:
    (event,) = commit_events(1)
    OutboxEvent.objects.filter(pk=event.pk).update(dead_at=database_now(), discarded_at=database_now())
    assert audit()[:2] == (0, counts(committed=1, discarded=1))


def test_a_row_that_was_deleted_before_it_was_sent_leaves_a_gap() -> None:
    """Seen at the next version, as long as a lower one is kept; what the purge takes from below is none."""
    purged, *kept = commit_events(2), *(commit_events(5) for _ in range(2))
    OutboxEvent.objects.filter(pk__in=[purged[0].pk, kept[0][2].pk]).delete()
    with running(make_poller()):
        wait_for(all_sent, "the marks")
    status, sums, text = audit()
    assert (status, sums["behind a gap"], sums["missing"]) == (1, 1, 0), text
    assert f"behind a gap: {kept[0][3].id} {kept[0][3].topic} {kept[0][3].subject} version 4" in text


def test_what_may_be_purged_at_any_moment_makes_no_gap() -> None:
    """Of a batch that is old the purge may have taken a higher version first."""
    lowest, gone, sent = commit_events(3)
    produce(lowest, sent)
    mark(lowest, sent)
    OutboxEvent.objects.filter(pk=lowest.pk).update(sent_at=database_now() - RETENTION)
    OutboxEvent.objects.filter(pk=gone.pk).delete()
    assert audit()[1]["behind a gap"] == 0


def test_a_window_longer_than_rows_are_kept_is_refused() -> None:
    status, _, text = audit("--minutes", "10080")
    assert status == 2 and "at most 10075" in text


@pytest.mark.parametrize(
    ("variable", "address", "message"),
    [
        ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1", "Kafka at 127.0.0.1:1 cannot be asked"),
        ("DATABASE_URL", "postgresql://127.0.0.1:1/chat", "PostgreSQL cannot be asked"),
    ],
)
def test_a_service_that_is_away_is_told_with_status_2(variable: str, address: str, message: str) -> None:
    ended = subprocess.run(
        [sys.executable, "manage.py", "audit_outbox"],
        cwd=ROOT, env={**os.environ, variable: address}, capture_output=True, text=True, timeout=DEADLINE,
    )  # fmt: skip
    assert ended.returncode == 2 and message in ended.stderr and "Traceback" not in ended.stderr


def test_a_row_marked_after_its_record_was_read_is_not_missing() -> None:
    """And the record is read once, however long the mark takes."""
    (event,) = commit_events(1)
    produce(event)
    audit, findings = Audit(settings.KAFKA_BOOTSTRAP_SERVERS, since=event.created_at, retention=RETENTION), Findings()
    audit.advance(database_now(), findings)
    audit.advance(database_now(), findings)
    mark(event)
    audit.advance(database_now(), findings)
    assert {kind: count for (_, kind), count in findings.counts.items()} == {Kind.READ_BACK: 1}


def test_the_audit_beside_the_poller_counts_what_is_missing_once() -> None:
    missing = metrics.AUDIT_MISSING._value
    before = missing.get()
    mark(*commit_events(1, things=2))
    with auditing():
        wait_for(lambda: missing.get() > before, "the missing ones")
        wait_for_audit()
    assert missing.get() == before + 2


def test_a_flow_with_a_change_of_pollers_raises_no_alarm() -> None:
    """Audits follow each other without a pause, while rows are committed, sent and marked."""
    errors = (metrics.AUDIT_MISSING, metrics.AUDIT_UNEXPECTED, metrics.AUDIT_DISORDERED)
    before = [error._value.get() for error in errors]
    with auditing(interval=0.01):
        with running(make_poller()) as first, running(make_poller()):
            commit_rounds(30, things=20)
            first.stop()
            commit_rounds(30, things=20)
            wait_for(all_sent, "the marks")
        wait_for_audit()
    assert [error._value.get() for error in errors] == before


def test_the_audit_of_one_that_stands_by_does_nothing() -> None:
    audited = metrics.AUDITED._value
    asked, before = [], audited.get()

    def leads() -> bool:
        asked.append(True)
        return False

    with auditing(leads=leads):
        wait_for(lambda: len(asked) > 1, "two rounds")
    assert audited.get() == before


def test_the_audit_beside_the_poller_goes_on_when_its_connection_was_cut() -> None:
    with auditing():
        wait_for_audit()
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        wait_for_audit()


def test_the_audit_beside_the_poller_ends_at_once_also_while_kafka_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, answered = Event(), Event()

    def ask(*_: object) -> None:
        asked.set()
        answered.wait(DEADLINE)

    monkeypatch.setattr(Audit, "advance", ask)
    with auditing() as auditor:
        assert asked.wait(DEADLINE)
        started = monotonic()
        auditor.close()
        assert auditor._thread.is_alive()
        assert monotonic() - started < DEADLINE / 2
        answered.set()


def test_speed(capsys: pytest.CaptureFixture[str]) -> None:
    """Measured, not asserted: 5,000 rows among 50,000 messages of people."""
    things = Thing.objects.bulk_create(Thing() for _ in range(500))
    with transaction.atomic():
        for _ in range(10):
            for thing in things:
                record(thing)
    producer = Producer({"bootstrap.servers": settings.KAFKA_BOOTSTRAP_SERVERS, "linger.ms": 5})
    with running(make_poller()):
        for number in range(50_000):
            producer.produce(
                Topic.MESSAGE_CREATED, b"x" * 300, key=f"room.{number % 100}", headers={"id": str(uuid4())}
            )
            if number % BATCH == 0:
                producer.poll(0)
        assert producer.flush(PATIENCE) == 0
        wait_for(all_sent, "the marks")
    since, findings = database_now() - timedelta(minutes=5), Findings()
    started = monotonic()
    seconds = []
    whole = Audit(settings.KAFKA_BOOTSTRAP_SERVERS, since=since, retention=RETENTION)
    for _ in range(2):
        started = monotonic()
        whole.advance(database_now(), findings)
        seconds.append(monotonic() - started)
    assert findings.total(Kind.READ_BACK) == 5000 and not findings.offenders
    with capsys.disabled():
        print(
            f"\naudit of 55,000 records, 5,000 of them the outbox's: {seconds[0]:.2f} s ({55_000 / seconds[0]:,.0f}/s);"
            f" with nothing new: {seconds[1]:.2f} s"
        )

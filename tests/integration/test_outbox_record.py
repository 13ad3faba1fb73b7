"""record_event: the one door into the outbox."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, transaction
from django.db.transaction import TransactionManagementError
from pydantic import ValidationError

from events.schemas import EventType
from events.topics import Topic
from outbox.models import OutboxEvent
from outbox.services import record_event
from tests.integration.outbox_support import Thing, connect, record, thing_table

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def thing(transactional_db: None) -> Iterator[Thing]:
    with thing_table():
        yield Thing.objects.create()


def test_recording_outside_a_transaction_raises(thing: Thing) -> None:
    """The error says where to call it, and nothing is written."""
    with pytest.raises(TransactionManagementError, match="in the atomic block that writes the thing"):
        record(thing)
    assert not OutboxEvent.objects.exists()


def test_a_rollback_leaves_neither_event_nor_version(thing: Thing) -> None:
    """What was not committed has not happened."""
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        record(thing)
        raise ZeroDivisionError
    assert not OutboxEvent.objects.exists()
    thing.refresh_from_db()
    assert thing.version == 0


def test_the_event_holds_what_was_recorded(thing: Thing) -> None:
    """Debezium's words, the checked payload, and the version also on the instance."""
    with transaction.atomic(durable=True):
        event = record(thing, text="안녕")
    event.refresh_from_db()
    assert (event.aggregate_type, event.aggregate_id, event.version) == ("thing", str(thing.pk), 1)
    assert (event.type, event.subject) == ("chat.notice.created.v1", f"room/{thing.pk}")
    assert (event.topic, event.key) == ("chat.message.created", f"room.{thing.pk}")
    assert event.payload == {"room": thing.pk, "event": "renamed", "name": "안녕", "user": None, "by": None}
    assert event.created_at is not None and event.sent_at is None and thing.version == 1


@pytest.mark.parametrize("data", [{}, {"id": "7"}, {"id": 0}])
def test_data_that_does_not_fit_its_type_is_refused_when_recorded(thing: Thing, data: dict[str, object]) -> None:
    """Nobody finds out only when it is sent, or read."""
    with pytest.raises(ValidationError), transaction.atomic():
        record_event(
            aggregate=thing, topic=Topic.ROOM_NOTIFICATION, key="rooms", type=EventType.ROOM_DELETED, data=data
        )
    assert not OutboxEvent.objects.exists()


def test_an_aggregate_that_is_gone_is_refused(thing: Thing) -> None:
    """A deletion is recorded before the row goes."""
    Thing.objects.all().delete()
    with pytest.raises(Thing.DoesNotExist, match="record before deleting"), transaction.atomic():
        record(thing)


def test_versions_are_dense_and_in_commit_order_under_concurrency(thing: Thing) -> None:
    """Six writers of one aggregate: no version twice, none left out, and the events in the order of the versions."""

    def write(_: int) -> None:
        try:
            for _ in range(25):
                with transaction.atomic(durable=True), connection.cursor() as cursor:
                    # The others may hold a slow machine's row for long.
                    cursor.execute("SET LOCAL lock_timeout = 0")
                    record(Thing(pk=thing.pk))
        finally:
            connection.close()

    # The pool of connections has eight, of which this thread has one.
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    versions = list(OutboxEvent.objects.order_by("created_at").values_list("version", flat=True))
    assert versions == list(range(1, 151))


def test_the_commit_calls_the_poller_and_the_rollback_does_not(thing: Thing) -> None:
    """The notification is part of the transaction."""
    with connect() as listener:
        listener.execute("LISTEN outbox")
        with transaction.atomic():
            record(thing)
            transaction.set_rollback(True)
        assert not list(listener.notifies(timeout=0.2))
        with transaction.atomic():
            record(thing)
            record(thing)
        assert len(list(listener.notifies(timeout=5, stop_after=1))) == 1

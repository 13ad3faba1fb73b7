"""Kafka goes away in the middle of a flow of events, and comes back."""

from collections.abc import Iterator

import pytest
from django.conf import settings

from devstack import DevStack
from events.provisioning import create_topics
from outbox.lease import LOCK_NAME
from outbox.models import OutboxEvent
from tests.acceptance.processes import wait_for
from tests.integration.outbox_support import (
    Flow,
    all_sent,
    assert_whole,
    committed,
    make_poller,
    make_redis,
    reading,
    running,
    thing_table,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevStack]:
    """A Kafka of its own, to be broken."""
    with DevStack(tmp_path_factory.mktemp("broker"), services=("kafka",)) as stack:
        create_topics(stack.addresses()["KAFKA_BOOTSTRAP_SERVERS"], replication=1)
        yield stack


@pytest.fixture(autouse=True)
def things(transactional_db: None, broker: DevStack, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(settings, "KAFKA_BOOTSTRAP_SERVERS", broker.addresses()["KAFKA_BOOTSTRAP_SERVERS"])
    make_redis().delete(LOCK_NAME)
    with thing_table():
        yield


def test_a_killed_broker_loses_nothing_and_keeps_each_aggregates_order(broker: DevStack) -> None:
    """Rows wait without using up their attempts, and afterwards readers have seen each event once, in order."""
    with reading() as reader, running(make_poller()):
        with Flow(rate=200):
            wait_for(lambda: OutboxEvent.objects.exclude(sent_at=None).count() > 50, "a flow")
            broker.kill("kafka")
            wait_for(lambda: OutboxEvent.objects.exclude(last_error="").exists(), "the outage to be noticed")
            broker.start("kafka")
            sent = OutboxEvent.objects.exclude(sent_at=None).count()
            wait_for(lambda: OutboxEvent.objects.exclude(sent_at=None).count() > sent, "the flow again")
        events = committed()
        reader.read_all({event.id for event in events})
        wait_for(all_sent, "the marks")
    assert_whole(reader.versions_seen(), events)
    assert not OutboxEvent.objects.filter(attempts__gt=0).exists(), "An outage is no refusal."

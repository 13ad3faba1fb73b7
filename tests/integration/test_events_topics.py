"""create_topics: what is missing is made, what cannot work is refused."""

from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType
from django.conf import settings
from django.core.management import CommandError, call_command

from events import provisioning
from events.errors import TopicMismatch
from events.provisioning import create_topics
from events.topics import TOPICS, TopicSpec


@pytest.fixture
def name() -> Iterator[str]:
    name = f"test-{uuid4().hex[:12]}"
    yield name
    admin = AdminClient({"bootstrap.servers": settings.KAFKA_BOOTSTRAP_SERVERS})
    admin.delete_topics([name])[name].result(20)


def create(name: str, *, partitions: int = 3, replication: int = 1) -> list[str]:
    topics = {name: TopicSpec(partitions=partitions, retention=timedelta(hours=2))}
    return create_topics(settings.KAFKA_BOOTSTRAP_SERVERS, replication=replication, topics=topics)


def test_a_topic_is_made_once_as_it_is_specified(name: str) -> None:
    """Partitions, retention and the broker's clock; the second run finds it."""
    assert create(name) == [name]
    assert create(name) == []
    admin = AdminClient({"bootstrap.servers": settings.KAFKA_BOOTSTRAP_SERVERS})
    assert len(admin.list_topics(name, timeout=20).topics[name].partitions) == 3
    resource = ConfigResource(ResourceType.TOPIC, name)
    config = admin.describe_configs([resource])[resource].result(20)
    values = {key: config[key].value for key in ("cleanup.policy", "retention.ms", "message.timestamp.type")}
    assert values == {
        "cleanup.policy": "delete", "retention.ms": "7200000", "message.timestamp.type": "LogAppendTime"
    }  # fmt: skip
    assert config["min.insync.replicas"].value == "1"


def test_another_partition_count_is_refused_and_explained(name: str) -> None:
    """The text says what is there, what is needed, why, and what to do."""
    create(name, partitions=2)
    with pytest.raises(TopicMismatch, match=rf"{name} has 2 partitions, this project needs 3\. .*delete the topic"):
        create(name, partitions=3)


def test_too_few_replicas_are_refused_and_explained(name: str) -> None:
    """Fewer replicas than asked for would make acknowledgements promise too much."""
    create(name)
    with pytest.raises(TopicMismatch, match=rf"{name} has 1 replicas, KAFKA_REPLICATION asks for 3\. Add replicas"):
        create(name, replication=3)


def test_three_replicas_mean_two_in_sync() -> None:
    """Then an acknowledged record survives the loss of any one broker."""
    spec = TopicSpec(partitions=3, retention=timedelta(hours=1))
    assert spec.config(replication=3)["min.insync.replicas"] == "2"


def test_the_command_can_be_repeated_and_names_the_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """All topics of the project are there after it; a topic that does not fit ends it with the explanation."""
    call_command("create_topics")
    call_command("create_topics")
    admin = AdminClient({"bootstrap.servers": settings.KAFKA_BOOTSTRAP_SERVERS})
    assert set(TOPICS) <= set(admin.list_topics(timeout=20).topics)
    monkeypatch.setattr(settings, "KAFKA_REPLICATION", 3)
    with pytest.raises(CommandError, match="KAFKA_REPLICATION asks for 3"):
        call_command("create_topics")


def test_unreachable_kafka_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which address was tried."""
    monkeypatch.setattr(settings, "KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setattr(provisioning, "TIMEOUT", 1.0)
    with pytest.raises(CommandError, match=r"Kafka at 127\.0\.0\.1:1"):
        call_command("create_topics")

"""Making the topics, and refusing ones that cannot work."""

from collections.abc import Mapping
from threading import Event
from time import monotonic
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]
from confluent_kafka.cimpl import NewTopic

from events.errors import TopicMismatch
from events.topics import TOPICS, TopicSpec

TIMEOUT = 30.0  # seconds


def create_topics(bootstrap_servers: str, *, replication: int, topics: Mapping[str, TopicSpec] = TOPICS) -> list[str]:
    """Create the topics that are missing, wait until they can be used, and return their names; may be repeated, also
    at the same time.

    Raises `TopicMismatch` when one exists with other partitions or fewer replicas, before anything is created, and
    `confluent_kafka.KafkaException` when Kafka cannot be asked or does not create one.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    existing = admin.list_topics(timeout=TIMEOUT).topics
    for name, spec in topics.items():
        if name in existing:
            _check(existing[name], spec, replication)
    missing = [
        NewTopic(str(name), spec.partitions, replication, config=spec.config(replication=replication))
        for name, spec in topics.items()
        if name not in existing
    ]
    if not missing:
        return []
    created = []
    for name, future in admin.create_topics(missing, operation_timeout=TIMEOUT).items():
        try:
            future.result(TIMEOUT)
            created.append(name)
        except KafkaException as error:
            # Somebody else was quicker, with the same specification.
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
    _wait_until_led(
        bootstrap_servers, [TopicPartition(topic.topic, n) for topic in missing for n in range(topic.num_partitions)]
    )
    return created


def _wait_until_led(bootstrap_servers: str, partitions: list[TopicPartition]) -> None:
    """Return when every new partition answers: "created" comes before its leader is in place."""
    end, pause = monotonic() + TIMEOUT, Event()
    while True:
        # A new handle each time: one that has asked too early finds no leaders for good (seen with librdkafka 2.16).
        admin = AdminClient({"bootstrap.servers": bootstrap_servers})
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        asked = admin.list_offsets(dict.fromkeys(partitions, latest), request_timeout=5)
        try:
            for future in asked.values():
                future.result(TIMEOUT)
        except KafkaException:
            if monotonic() > end:
                raise
            pause.wait(0.05)
        else:
            return


def _check(topic: Any, spec: TopicSpec, replication: int) -> None:
    partitions = len(topic.partitions)
    if partitions != spec.partitions:
        raise TopicMismatch(
            f"{topic.topic} has {partitions} partitions, this project needs {spec.partitions}. The count is fixed for"
            " good, since another one sends rooms to other partitions and breaks the order of their messages. Stop"
            " everything, let the event consumer store what is left, delete the topic and run create_topics again; or"
            " point KAFKA_BOOTSTRAP_SERVERS to the right Kafka."
        )
    replicas = min(len(partition.replicas) for partition in topic.partitions.values())
    if replicas < replication:
        raise TopicMismatch(
            f"{topic.topic} has {replicas} replicas, KAFKA_REPLICATION asks for {replication}. Add replicas with"
            " kafka-reassign-partitions.sh, or lower KAFKA_REPLICATION if fewer are what you want."
        )

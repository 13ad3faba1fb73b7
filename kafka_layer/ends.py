"""Where the partitions end, asked beside the reader: one that has gone deaf would not hear that there is more.

The end is where the reader can come to. While a foreign producer has a transaction open, that is in front of it.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from kafka_layer.errors import BrokerUnavailable
from kafka_layer.topics import Topics

Partition = tuple[str, int]
Answers = Mapping[TopicPartition, "Future[Any]"]


def list_offsets(admin: AdminClient, request: Mapping[TopicPartition, OffsetSpec]) -> dict[Partition, int]:
    """The offsets asked for; blocks. Raises BrokerUnavailable."""
    if not request:
        return {}
    try:
        answers = _ask(admin, request)
        return {(p.topic, p.partition): answer.result().offset for p, answer in answers.items()}
    except KafkaException as error:
        raise BrokerUnavailable(f"Kafka did not say where its partitions end: {error}") from error


class Ends:
    """Asks without waiting."""

    def __init__(self, topics: Topics, partitions: Sequence[Partition]) -> None:
        self._topics = topics
        self._request: dict[TopicPartition, OffsetSpec] = {
            TopicPartition(topic, partition): OffsetSpec.latest()  # type: ignore[no-untyped-call]
            for topic, partition in partitions
        }
        self._answers: Answers = {}
        self._asked: AdminClient | None = None  # kept, since answers come only while it is

    def look(self) -> dict[Partition, int]:
        """What was answered since the last look, which is asked again. Empty while Kafka does not answer."""
        if not all(answer.done() for answer in self._answers.values()):
            return {}
        answers = self._answers
        self._asked = self._topics.admin
        self._answers = _ask(self._asked, self._request)
        return {
            (p.topic, p.partition): answer.result().offset
            for p, answer in answers.items()
            if answer.exception() is None
        }


def _ask(admin: AdminClient, request: Mapping[TopicPartition, OffsetSpec]) -> Answers:
    return admin.list_offsets(dict(request), isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=5)

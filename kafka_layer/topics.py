"""The topics that the layer stands on: that they are there, and that they stay the same ones.

A group's place is computed from its topic's partition count, and a position means something in one incarnation of a
topic only (KIP-516: each has an id of its own). So neither may change under a running process.
"""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from kafka_layer.errors import BrokerUnavailable, TopicMismatch, TopicMissing

logger = logging.getLogger(__name__)


class Incarnation(NamedTuple):
    """What a topic is: one that was deleted and created again has another id."""

    id: str
    partitions: int


class Topics:
    """Asks Kafka about the topics of one process. `partitions` says what some of them must have."""

    def __init__(self, client: Mapping[str, Any], names: Sequence[str], *, partitions: Mapping[str, int]) -> None:
        self._client = client
        self._names = names
        self._partitions = partitions
        self._admin: AdminClient | None = None
        self._first: Mapping[str, Incarnation] | None = None  # as this process met them; None before
        self._asked: Mapping[str, Future[Any]] = {}  # by `look`, not answered yet

    @property
    def admin(self) -> AdminClient:
        """Made on first use, as every handle."""
        admin = self._admin  # another thread may drop it
        if admin is None:
            admin = self._admin = AdminClient(dict(self._client), logger=logger)
        return admin

    def resolve(self, timeout: float) -> Mapping[str, Incarnation]:
        """The topics as Kafka has them now; blocks. Raises BrokerUnavailable, TopicMissing when one does not exist, or
        TopicMismatch when one is not what it was, or was said to be."""
        answers = self.admin.describe_topics(TopicCollection(list(self._names)), request_timeout=timeout)
        now = {name: found for name, answer in answers.items() if (found := self._read(answer)) is not None}
        missing = sorted(set(self._names) - set(now))
        if missing:
            raise TopicMissing(
                f"Kafka has no topic {', '.join(missing)}. Topics are never created by themselves: create them with "
                "the number of partitions they shall always have, then start again."
            )
        self._compare(now)
        self._first = self._first or now
        return now

    def look(self) -> None:
        """Ask again without waiting, and judge the answer at the next look. Raises TopicMismatch.

        A broker that is away, or has just come back and does not know the topic yet, is no reason.
        """
        if self._asked and not all(answer.done() for answer in self._asked.values()):
            return
        for name, answer in self._asked.items():
            if answer.exception() is None:
                self._compare({name: _incarnation(answer.result())})
            else:
                self._admin = None  # a handle may be cut off for good (reach.py); the next one starts afresh
        self._asked = self.admin.describe_topics(TopicCollection(list(self._names)), request_timeout=5)

    def close(self) -> None:
        """Asking again makes a new handle."""
        self._admin, self._asked = None, {}

    def _read(self, answer: "Future[Any]") -> Incarnation | None:
        try:
            return _incarnation(answer.result())
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return None
            servers = self._client["bootstrap.servers"]
            raise BrokerUnavailable(f"Kafka at {servers} did not say what its topics are: {error}") from error

    def _compare(self, now: Mapping[str, Incarnation]) -> None:
        for name, found in now.items():
            wanted = self._partitions.get(name, found.partitions)
            if found.partitions != wanted:
                raise TopicMismatch(
                    f"Topic {name} has {found.partitions} partitions and must have {wanted}: groups would be looked "
                    "for in the wrong ones. Create it anew with the right number, while nothing uses it."
                )
            if self._first is not None and self._first[name] != found:
                raise TopicMismatch(
                    f"Topic {name} was {self._first[name]} and is {found}: positions of before mean nothing in it. "
                    "Start this process again."
                )


def _incarnation(description: Any) -> Incarnation:
    return Incarnation(str(description.topic_id), len(description.partitions))

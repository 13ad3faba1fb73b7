"""Asking Kafka about itself, again and again."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

logger = logging.getLogger(__name__)


class KeptAdmin:
    """One client for many questions, since connecting anew for each would cost more than the question. May be shared
    by threads."""

    def __init__(self, bootstrap_servers: str, *, client_id: str) -> None:
        # What goes wrong is told by whoever asks; a line for each attempt to connect would bury the log.
        self._settings: dict[str, str | int | float | bool] = {
            "bootstrap.servers": bootstrap_servers, "client.id": client_id, "log_level": 2,
        }  # fmt: skip
        self._client: AdminClient | None = None

    @contextmanager
    def asking(self) -> Iterator[AdminClient]:
        """The client. After a `KafkaException` or `TimeoutError` the next question has another one: a client that has
        lost all brokers may never find them again (librdkafka issue 5301)."""
        client = self._client
        if client is None:  # a client that waits for nothing is false
            client = self._client = AdminClient(self._settings, logger=logger)
        try:
            yield client
        except (KafkaException, TimeoutError):
            self._client = None
            raise

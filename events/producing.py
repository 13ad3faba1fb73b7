"""Producing a few records and waiting until Kafka has them, for handlers of the event consumer."""

import logging
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer

logger = logging.getLogger(__name__)

TIMEOUT = 10.0  # seconds


class OutgoingRecord(NamedTuple):
    key: str | bytes | None
    value: bytes
    headers: Mapping[str, str | bytes]


class ConfirmingProducer:
    """Idempotent, acks=all; connects on first use. After a failure the next call gets a new handle, since an idempotent
    producer may have failed for good."""

    def __init__(self, bootstrap_servers: str, *, client_id: str, **settings: str | int) -> None:
        self._config: dict[str, str | int | bool] = {
            "bootstrap.servers": bootstrap_servers,
            "client.id": client_id,
            "enable.idempotence": True,
            "acks": "all",
            "partitioner": "murmur2_random",
            "message.timeout.ms": int(TIMEOUT * 1000) - 1000,
            # What goes wrong is raised; a line for each attempt to connect would bury the log.
            "log_level": 2,
            **settings,
        }
        self._producer: Producer | None = None

    def produce(self, topic: str, records: Iterable[OutgoingRecord]) -> None:
        """Return when all in-sync replicas have the records; raise `KafkaException` when that is not certain."""
        if self._producer is None:
            self._producer = Producer(self._config, logger=logger)
        failures: list[KafkaError] = []
        try:
            for record in records:
                self._producer.produce(
                    topic,
                    key=record.key,
                    value=record.value,
                    headers=list(record.headers.items()),
                    on_delivery=lambda error, _: failures.append(error) if error is not None else None,
                )
            waiting = self._producer.flush(TIMEOUT)
            if failures or waiting:
                raise KafkaException(failures[0] if failures else f"Kafka did not confirm {waiting} records in time.")
        except KafkaException:
            self._producer = None
            raise

    def close(self) -> None:
        """Every record was confirmed or has failed already."""
        self._producer = None

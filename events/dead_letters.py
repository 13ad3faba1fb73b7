"""The dead-letter topic: records that can never be handled, each with its reason and where it came from."""

from typing import TYPE_CHECKING

from confluent_kafka import KafkaException, Producer

from events.topics import Topic

if TYPE_CHECKING:
    from events.consumer import ReceivedRecord

TIMEOUT = 10.0  # seconds


class DeadLetters:
    """Writes dead letters, each acknowledged by all in-sync replicas before `produce` returns."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "client.id": "dead-letters",
                "enable.idempotence": True,
                "message.timeout.ms": int(TIMEOUT * 1000) - 1000,
            }
        )

    def produce(self, record: "ReceivedRecord", *, reason: str) -> None:
        """Keep a record's key and value as they were; raise `KafkaException` when Kafka does not confirm it."""
        failures: list[object] = []
        headers = {
            "reason": reason.encode()[:2000],
            "topic": record.topic.encode(),
            "partition": str(record.partition).encode(),
            "offset": str(record.offset).encode(),
        }
        self._producer.produce(
            Topic.DEAD_LETTER.value,
            key=record.key,
            value=record.value,
            headers=[*record.headers.items(), *headers.items()],
            on_delivery=lambda error, _: failures.append(error) if error is not None else None,
        )
        waiting = self._producer.flush(TIMEOUT)
        if failures or waiting:
            raise KafkaException(failures[0] if failures else "The dead letter was not confirmed in time.")

    def close(self) -> None:
        self._producer.flush(TIMEOUT)

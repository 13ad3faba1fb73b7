"""The dead-letter topic: records that can never be handled, each with its reason and where it came from."""

from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException, Producer

from events.topics import TOPICS, Topic

if TYPE_CHECKING:
    from events.consumer import ReceivedRecord

TIMEOUT = 10.0  # seconds
MAX_REASON = 2000  # bytes


class DeadLetters:
    """Writes dead letters, each acknowledged by all in-sync replicas before `produce` returns."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._config = {
            "bootstrap.servers": bootstrap_servers,
            "client.id": "dead-letters",
            "enable.idempotence": True,
            "acks": "all",
            "message.timeout.ms": int(TIMEOUT * 1000) - 1000,
            "message.max.bytes": TOPICS[Topic.DEAD_LETTER].max_message_bytes,
        }
        self._producer: Producer | None = None

    def produce(self, record: "ReceivedRecord", *, reason: str) -> None:
        """Keep the record beside its reason; raise `KafkaException` when Kafka does not confirm it."""
        if self._producer is None:
            self._producer = Producer(self._config)
        reports: list[KafkaError | None] = []
        try:
            self._producer.produce(
                Topic.DEAD_LETTER.value,
                key=record.key,
                value=record.value,
                headers=[*record.headers.items(), *_origin(record, reason).items()],
                on_delivery=lambda error, _: reports.append(error),
            )
            self._producer.flush(TIMEOUT)
            if reports != [None]:
                raise KafkaException(reports[0] if reports else "The dead letter was not confirmed in time.")
        except KafkaException:
            # An idempotent producer may have failed for good; the next dead letter gets a new one.
            self._producer = None
            raise

    def close(self) -> None:
        """Every dead letter was confirmed or has failed already."""
        self._producer = None


def _origin(record: "ReceivedRecord", reason: str) -> dict[str, bytes]:
    return {
        "reason": reason.encode()[:MAX_REASON],
        "topic": record.topic.encode(),
        "partition": str(record.partition).encode(),
        "offset": str(record.offset).encode(),
    }

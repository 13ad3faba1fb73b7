"""The dead-letter topic: records that can never be handled, each with its reason and where it came from."""

from typing import TYPE_CHECKING

from events.producing import ConfirmingProducer, OutgoingRecord
from events.topics import TOPICS, Topic

if TYPE_CHECKING:
    from events.consumer import ReceivedRecord

# What a letter carries besides the record's own headers.
ORIGIN_HEADERS = ("reason", "topic", "partition", "offset")
MAX_REASON = 2000  # bytes


class DeadLetters:
    """Writes dead letters, each acknowledged by all in-sync replicas before `produce` returns."""

    def __init__(self, bootstrap_servers: str) -> None:
        largest = TOPICS[Topic.DEAD_LETTER].max_message_bytes
        settings = {"message.max.bytes": largest}
        self._producer = ConfirmingProducer(bootstrap_servers, client_id="dead-letters", **settings)

    def produce(self, record: "ReceivedRecord", *, reason: str) -> None:
        """Keep the record beside its reason; raise `KafkaException` when Kafka does not confirm it."""
        headers = {**record.headers, **_origin(record, reason)}
        key = None if record.key is None else record.key.encode(errors="surrogateescape")
        self._producer.produce(Topic.DEAD_LETTER.value, [OutgoingRecord(key, record.value, headers)])

    def close(self) -> None:
        self._producer.close()


def _origin(record: "ReceivedRecord", reason: str) -> dict[str, bytes]:
    return {
        "reason": reason.encode()[:MAX_REASON],
        "topic": record.topic.encode(),
        "partition": str(record.partition).encode(),
        "offset": str(record.offset).encode(),
    }

"""Redis `room:{id}`, filled only from the topic `chat.room.created`; when it is written the room list is told."""

from collections.abc import Sequence

from confluent_kafka import KafkaException, Producer

from accounts.cache import VersionedCache, decode_versioned
from events.consumer import ReceivedRecord
from events.envelope import Envelope
from events.schemas import EventType
from events.topics import Topic
from rooms.services import ROOM_LIST

TIMEOUT = 10.0  # seconds


class RoomCacheHandler:
    """The handler of `chat.room.created` for the event consumer (`events.consumer.TopicHandler`)."""

    def __init__(self, cache: VersionedCache, bootstrap_servers: str) -> None:
        self._cache = cache
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "client.id": "room-notifications",
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "message.timeout.ms": int(TIMEOUT * 1000) - 1000,
            }
        )

    def start_offset(self, partition: int) -> int | None:
        return None

    def store(self, records: Sequence[ReceivedRecord]) -> None:
        """First the cache, then the notification: who is told of a room finds it."""
        envelopes = [decode_versioned(record, EventType.ROOM_CREATED) for record in records]
        self._cache.write({f"room:{e.data['id']}": (e.version or 0, e.data) for e in envelopes})
        self._notify(envelopes)

    def skip(self, record: ReceivedRecord) -> None:
        """Kafka's committed offset says all."""

    def _notify(self, envelopes: Sequence[Envelope]) -> None:
        """Pass events on to the room list with their ids, by which readers drop repeats."""
        failures: list[object] = []
        for envelope in envelopes:
            self._producer.produce(
                Topic.ROOM_NOTIFICATION.value,
                key=ROOM_LIST,
                value=envelope.encode(),
                headers={"id": envelope.id, "type": envelope.type, "version": str(envelope.version)},
                on_delivery=lambda error, _: failures.append(error) if error is not None else None,
            )
        waiting = self._producer.flush(TIMEOUT)
        if failures or waiting:
            raise KafkaException(failures[0] if failures else "Room notifications were not confirmed in time.")

"""Redis `room:{id}`, filled only from the topic `chat.room.created`; when it is written the room list is told."""

from collections.abc import Sequence

from accounts.cache import VersionedCache, decode_versioned
from events.consumer import ReceivedRecord
from events.envelope import Envelope
from events.producing import ConfirmingProducer, OutgoingRecord
from events.schemas import EventType
from events.topics import Topic
from rooms.services import ROOM_LIST


class RoomCacheHandler:
    """The handler of `chat.room.created` for the event consumer (`events.consumer.TopicHandler`)."""

    def __init__(self, cache: VersionedCache, bootstrap_servers: str) -> None:
        self._cache = cache
        self._producer = ConfirmingProducer(bootstrap_servers, client_id="room-notifications")

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
        records = [
            OutgoingRecord(ROOM_LIST, e.encode(), {"id": e.id, "type": e.type, "version": str(e.version)})
            for e in envelopes
        ]
        self._producer.produce(Topic.ROOM_NOTIFICATION.value, records)

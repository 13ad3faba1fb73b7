"""Redis `room:{id}`, filled from the topic `chat.room.created`; when it is written the room list is told."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from accounts.cache import Entry, VersionedCache, decode_versioned
from events.consumer import ReceivedRecord
from events.envelope import Envelope
from events.producing import ConfirmingProducer, OutgoingRecord
from events.schemas import EventType
from events.topics import Topic
from rooms.figures import last_message_key
from rooms.services import ROOM_LIST

STATES = (EventType.ROOM_CREATED, EventType.ROOM_UPDATED, EventType.ROOM_DELETED)

# Above every version; Redis compares them as doubles, which are exact up to here.
NEWEST = 2**53


class RoomCacheHandler:
    """The handler of `chat.room.created` for the event consumer (`events.consumer.TopicHandler`)."""

    def __init__(self, cache: VersionedCache, bootstrap_servers: str) -> None:
        self._cache = cache
        self._producer = ConfirmingProducer(bootstrap_servers, client_id="room-notifications")

    def start_offset(self, partition: int) -> int | None:
        return None

    def store(self, records: Sequence[ReceivedRecord]) -> None:
        """First the cache, then the notification: who is told of a room finds it. Of what a newer event has overtaken
        (a poller that slept may produce its last batch again) nobody is told."""
        envelopes = [decode_versioned(record, *STATES) for record in records]
        self._cache.write(entry for e in envelopes for entry in _entries(e))
        told = self._cache.told_versions(list({_key(e) for e in envelopes}))
        news = []
        for envelope in envelopes:
            # A repeat of the newest one is passed on: whoever had it first may have died before it did.
            if (version := envelope.version or 0) >= told[_key(envelope)]:
                told[_key(envelope)] = version
                news.append(envelope)
        self._notify(news)
        self._cache.note_told(told)

    def skip(self, record: ReceivedRecord) -> None:
        """Kafka's committed offset says all."""

    def _notify(self, envelopes: Sequence[Envelope]) -> None:
        """Pass events on to the room list with their ids, by which readers drop repeats."""
        records = [
            OutgoingRecord(ROOM_LIST, e.encode(), {"id": e.id, "type": e.type, "version": str(e.version)})
            for e in envelopes
        ]
        self._producer.produce(Topic.ROOM_NOTIFICATION.value, records)


def room_key(room: int) -> str:
    return f"room:{room}"


def _key(envelope: Envelope) -> str:
    return room_key(envelope.data["id"])


def _entries(envelope: Envelope) -> Iterator[Entry]:
    yield Entry(_key(envelope), envelope.version or 0, _state(envelope))
    if envelope.type == EventType.ROOM_DELETED:
        # What was said last must not outlive its room, nor come back with what is stored late.
        yield Entry(last_message_key(envelope.data["id"]), NEWEST, None)


def _state(envelope: Envelope) -> Mapping[str, Any] | None:
    return None if envelope.type == EventType.ROOM_DELETED else envelope.data

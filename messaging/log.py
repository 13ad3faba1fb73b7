"""The log of rooms: one topic whose records are the messages, in the one order that everybody sees."""

import logging
from contextlib import suppress
from threading import Event
from typing import Any

from confluent_kafka import KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]
from django.db import connection, transaction

from events.errors import OffsetConflict
from events.kept_admin import KeptAdmin
from events.models import ConsumedOffset
from events.topics import TOPICS, Topic
from messaging.cursor import Cursor
from messaging.database import in_database
from messaging.models import LogEpoch
from messaging.single_flight import SingleFlight

logger = logging.getLogger(__name__)

# Any number that nothing else in this database locks; it serialises the numbering of epochs.
EPOCH_LOCK = 0x63686174
WATCH_INTERVAL = 5.0  # seconds between two looks at the topic's id


def group_of(room: int) -> str:
    """The group, and the key in the log, of a room."""
    return f"room.{room}"


def room_of(group: str) -> int:
    """The room of a group; raise `ValueError` for a key that is no room's."""
    prefix, _, number = group.partition(".")
    if prefix != "room" or not number.isascii() or not number.isdigit():
        raise ValueError(f"{group!r} is not the key of a room.")
    return int(number)


class RoomLog:
    """The log as one process sees it: the layer that tails it, and the epoch of its present incarnation.

    Usable from any event loop. `start()` comes first; it may be called as often as one likes.
    """

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        # What many sockets ask the database at the same time.
        self.flights = SingleFlight()
        # Kafka's id of the topic, and its epoch; None before the first start.
        self._incarnation: tuple[str, int] | None = None

    async def start(self) -> None:
        """Return when live delivery is complete from here on and the epoch is known; also after the topic was created
        anew, when everything that waited for the old one has got `LayerClosed`. Raises `LayerError`, and Django's
        database errors."""
        await self.layer.start()
        topic_id = self.layer.topic_id(group_of(0))
        if self._incarnation is None or self._incarnation[0] != topic_id:
            self._incarnation = topic_id, await in_database(epoch_of)(Topic.MESSAGE_CREATED.value, topic_id)

    @property
    def epoch(self) -> int:
        """The epoch of the log; known after `start`."""
        if self._incarnation is None:
            raise RuntimeError("The log has not been started.")
        return self._incarnation[1]

    def cursor(self, position: Any) -> Cursor:
        """The cursor of a layer's position in this log."""
        return Cursor(self.epoch, position.partition, position.offset)

    def partition(self, room: int) -> int:
        """The partition that a room's records are on."""
        return int(self.layer.partition(group_of(room)))


class LogWatch:
    """Asks Kafka which incarnation of the log it has, and where it ends, for a process without the layer."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._admin = KeptAdmin(bootstrap_servers, client_id="log-watch")

    def topic_id(self) -> str:
        """Kafka's id of the log's topic. Blocks for at most 10 s. Raises `confluent_kafka.KafkaException` or
        `TimeoutError`."""
        with self._admin.asking() as admin:
            asked = admin.describe_topics(TopicCollection([Topic.MESSAGE_CREATED.value]), request_timeout=5)
            return str(asked[Topic.MESSAGE_CREATED.value].result(10).topic_id)

    def ends(self) -> dict[int, int]:
        """The offset behind the last record of each partition. Raises `confluent_kafka.KafkaException` or
        `TimeoutError`."""
        topic = Topic.MESSAGE_CREATED.value
        places = [TopicPartition(topic, number) for number in range(TOPICS[topic].partitions)]
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        with self._admin.asking() as admin:
            asked: dict[TopicPartition, Any] = admin.list_offsets(dict.fromkeys(places, latest), request_timeout=5)
            return {place.partition: int(answer.result(10).offset) for place, answer in asked.items()}

    def wait_for_another(self, topic_id: str, stopping: Event) -> bool:
        """Return True when the log was created anew, False when `stopping` is set. Kafka may be away meanwhile."""
        while not stopping.wait(WATCH_INTERVAL):
            with suppress(KafkaException, TimeoutError):  # the reading itself says what is wrong with Kafka
                if self.topic_id() != topic_id:
                    return True
        return False


def require_newest(epoch: int) -> None:
    """Raise `OffsetConflict` when the log of a later epoch has begun; none begins before the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", [EPOCH_LOCK])
    if LogEpoch.objects.filter(topic=Topic.MESSAGE_CREATED.value, epoch__gt=epoch).exists():
        raise OffsetConflict(f"The log was created anew, and epoch {epoch} has ended.")


@transaction.atomic
def epoch_of(topic: str, topic_id: str) -> int:
    """The epoch on record for `topic_id`; the next one is given to an id that is seen for the first time, and then
    nothing of the new log is stored yet."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [EPOCH_LOCK])
    known = LogEpoch.objects.filter(topic=topic, topic_id=topic_id).first()
    if known is None:
        epoch = LogEpoch.objects.filter(topic=topic).count() + 1
        known = LogEpoch.objects.create(topic=topic, topic_id=topic_id, epoch=epoch)
        ConsumedOffset.objects.filter(topic=topic).delete()
        logger.info("%s has the id %s: epoch %d.", topic, topic_id, epoch)
    return known.epoch

"""The log of rooms: one topic whose records are the messages, in the one order that everybody sees."""

import logging
from typing import Any

from confluent_kafka import TopicCollection
from confluent_kafka.admin import AdminClient
from django.db import connection, transaction

from events.models import ConsumedOffset
from events.topics import Topic
from messaging.cursor import Cursor
from messaging.database import in_database
from messaging.models import LogEpoch

logger = logging.getLogger(__name__)

# Any number that nothing else in this database locks; it serialises the numbering of epochs.
EPOCH_LOCK = 0x63686174


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

    def __init__(self, layer: Any, *, bootstrap_servers: str) -> None:
        self.layer = layer
        self._bootstrap_servers = bootstrap_servers
        self._epoch: int | None = None

    async def start(self) -> None:
        """Return when live delivery is complete from here on and the epoch is known."""
        await self.layer.start()
        if self._epoch is None:
            self._epoch = await in_database(current_epoch)(self._bootstrap_servers)

    @property
    def epoch(self) -> int:
        """The epoch of the log; known after `start`."""
        if self._epoch is None:
            raise RuntimeError("The log has not been started.")
        return self._epoch

    def cursor(self, position: Any) -> Cursor:
        """The cursor of a layer's position in this log."""
        return Cursor(self.epoch, position.partition, position.offset)

    def partition(self, room: int) -> int:
        """The partition that a room's records are on."""
        return int(self.layer.partition(group_of(room)))


def current_epoch(bootstrap_servers: str) -> int:
    """The number of the log's present incarnation: the one on record for Kafka's topic id, or a new one.

    Blocks for at most 10 s. Raises `confluent_kafka.KafkaException` when the brokers cannot be asked.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    asked = admin.describe_topics(TopicCollection([Topic.MESSAGE_CREATED.value]), request_timeout=5)
    description = asked[Topic.MESSAGE_CREATED.value].result(10)
    return epoch_of(Topic.MESSAGE_CREATED.value, str(description.topic_id))


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

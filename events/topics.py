"""The topics: their names on the wire, and what each must be like."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class Topic(StrEnum):
    USER_CREATED = "chat.user.created"
    ROOM_CREATED = "chat.room.created"
    # The log of the rooms: its order is the order everybody sees.
    MESSAGE_CREATED = "chat.message.created"
    ROOM_NOTIFICATION = "chat.room.notification"
    # Ephemeral events, and the channel layer's direct and normal channels.
    MESSAGE_NOTIFICATION = "chat.message.notification"
    # Records that could not be handled, with the reason and their origin in headers.
    DEAD_LETTER = "chat.dead_letter"


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """What a topic must be like. `partitions` is fixed for good: another number would send a key to another
    partition and so break the order of its records."""

    partitions: int
    retention: timedelta
    max_message_bytes: int = 1_048_588  # Kafka's default

    def config(self, *, replication: int) -> dict[str, str]:
        return {
            "cleanup.policy": "delete",
            "retention.ms": str(int(self.retention.total_seconds() * 1000)),
            "max.message.bytes": str(self.max_message_bytes),
            # People are shown the broker's clock, and repeats are recognised within a window of it.
            "message.timestamp.type": "LogAppendTime",
            # From three replicas on, two must have a record before it is acknowledged.
            "min.insync.replicas": "2" if replication >= 3 else "1",
        }


TOPICS: Mapping[str, TopicSpec] = {
    Topic.USER_CREATED: TopicSpec(partitions=3, retention=timedelta(days=7)),
    Topic.ROOM_CREATED: TopicSpec(partitions=3, retention=timedelta(days=7)),
    Topic.MESSAGE_CREATED: TopicSpec(partitions=3, retention=timedelta(days=7)),
    Topic.ROOM_NOTIFICATION: TopicSpec(partitions=3, retention=timedelta(days=1)),
    Topic.MESSAGE_NOTIFICATION: TopicSpec(partitions=3, retention=timedelta(hours=1)),
    # Room for the largest record of any topic and the headers that explain it.
    Topic.DEAD_LETTER: TopicSpec(partitions=1, retention=timedelta(days=30), max_message_bytes=2 * 1_048_588),
}

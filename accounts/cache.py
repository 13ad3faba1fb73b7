"""Redis `user:{id}`, filled only from the topic `chat.user.created`; it may be lost and is never the truth."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
import redis

from events.consumer import ReceivedRecord
from events.envelope import Envelope, InvalidRecord
from events.schemas import EventType

# Sets KEYS[1] to ARGV[2] unless it holds a version that is not older than ARGV[1]. Repeats and late records change
# nothing.
WRITE_NEWER = """
local held = redis.call('HGET', KEYS[1], 'version')
if held and tonumber(held) >= tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'data', ARGV[2])
return 1
"""


class VersionedCache:
    """Hashes `version`, `data` (JSON) in Redis, where an old version never overwrites a newer one."""

    def __init__(self, redis_url: str, **redis_options: Any) -> None:
        self._redis = redis.Redis.from_url(redis_url, **redis_options)

    def write(self, entries: Mapping[str, tuple[int, Mapping[str, Any]]]) -> None:
        """Write key → (version, data) in one round trip. Raises `redis.RedisError`."""
        pipeline = self._redis.pipeline(transaction=False)
        for key, (version, data) in entries.items():
            pipeline.eval(WRITE_NEWER, 1, key, version, orjson.dumps(data))
        pipeline.execute()

    def forget(self, keys: Iterable[str]) -> None:
        """Delete entries; the next write of a key counts, whatever its version. Raises `redis.RedisError`."""
        for key in keys:
            self._redis.delete(key)


class UserCacheHandler:
    """The handler of `chat.user.created` for the event consumer (`events.consumer.TopicHandler`)."""

    def __init__(self, cache: VersionedCache) -> None:
        self._cache = cache

    def start_offset(self, partition: int) -> int | None:
        return None

    def store(self, records: Sequence[ReceivedRecord]) -> None:
        envelopes = [decode_versioned(record, EventType.USER_CREATED) for record in records]
        self._cache.write({f"user:{e.data['id']}": (e.version or 0, e.data) for e in envelopes})

    def skip(self, record: ReceivedRecord) -> None:
        """Kafka's committed offset says all."""


def decode_versioned(record: ReceivedRecord, type: EventType) -> Envelope:
    """The envelope of a record that must be of this type and have a version; raise `InvalidRecord`."""
    envelope = Envelope.decode(record.value)
    if envelope.type != type or envelope.version is None:
        raise InvalidRecord(f"{envelope.type} with the version {envelope.version} does not belong on {record.topic}.")
    return envelope

"""Redis `user:{id}`, filled from the topic `chat.user.created`; it may be lost and is never the truth."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from time import monotonic
from typing import Any, NamedTuple, cast

import orjson
import redis

from events.consumer import ReceivedRecord
from events.envelope import Envelope, InvalidRecord
from events.schemas import EventType

# Gives KEYS[1] the version ARGV[1] and the data ARGV[2] ('': it is gone, kept in mind for ARGV[3] seconds) unless it
# holds a newer version, or the same one and ARGV[4] is not 'anew'. Repeats and late records change nothing.
WRITE_NEWER = """
local held = tonumber(redis.call('HGET', KEYS[1], 'version') or -1)
local new = tonumber(ARGV[1])
if held > new or (held == new and ARGV[4] ~= 'anew') then return end
redis.call('HSET', KEYS[1], 'version', ARGV[1])
if ARGV[2] == '' then
    redis.call('HDEL', KEYS[1], 'data')
    redis.call('EXPIRE', KEYS[1], ARGV[3])
else
    redis.call('HSET', KEYS[1], 'data', ARGV[2])
end
"""
# What became a grave meanwhile stays one.
FORGET = "if redis.call('HEXISTS', KEYS[1], 'data') == 1 then redis.call('DEL', KEYS[1]) end"
GRAVE = 7 * 86_400  # seconds; older records are not in the topics any more
REST = 5.0  # seconds


class Entry(NamedTuple):
    """What a key is to hold; `data` None: what it told of is gone."""

    key: str
    version: int
    data: Mapping[str, Any] | None


class VersionedCache:
    """Hashes `version`, `data` (JSON) in Redis, where an old version never overwrites a newer one. Everything raises
    `redis.RedisError`."""

    def __init__(self, redis_url: str, **redis_options: Any) -> None:
        self._redis = redis.Redis.from_url(redis_url, **redis_options)
        # Monotonic time before which a write fails at once: while Redis hangs, nobody waits for it again and again.
        self._rest_until = 0.0

    @property
    def rests(self) -> bool:
        """Whether a write would fail without asking Redis."""
        return monotonic() < self._rest_until

    def write(self, entries: Iterable[Entry], *, anew: bool = False) -> None:
        """In one round trip, like the others but `held`; `anew` writes the same version once more. For `REST` seconds
        after a failure it fails at once."""
        if self.rests:
            raise redis.ConnectionError("Redis did not answer a moment ago.")
        pipeline = self._redis.pipeline(transaction=False)
        for key, version, data in entries:
            value = b"" if data is None else orjson.dumps(data)
            pipeline.eval(WRITE_NEWER, 1, key, version, value, GRAVE, "anew" if anew else "")
        try:
            pipeline.execute()
        except redis.RedisError:
            self._rest_until = monotonic() + REST
            raise

    def told_versions(self, keys: Sequence[str]) -> dict[str, int]:
        """The version of the newest event of each key that everybody was told of; 0: of none."""
        pipeline = self._redis.pipeline(transaction=False)
        for key in keys:
            pipeline.hget(key, "told")
        return {key: int(told or 0) for key, told in zip(keys, pipeline.execute(), strict=True)}

    def note_told(self, versions: Mapping[str, int]) -> None:
        """Of keys that were written."""
        pipeline = self._redis.pipeline(transaction=False)
        for key, version in versions.items():
            pipeline.hset(key, "told", version)
        pipeline.execute()

    def held(self, prefix: str) -> Iterator[list[str]]:
        """The keys that begin so and hold data, some of them at a time and some perhaps twice; read in many round
        trips."""
        cursor = 0
        while True:
            cursor, keys = self._redis.scan(cursor, match=f"{prefix}*", count=1000)
            pipeline = self._redis.pipeline(transaction=False)
            for key in keys:
                pipeline.hexists(key, "data")
            yield [
                cast(bytes, key).decode() for key, has_data in zip(keys, pipeline.execute(), strict=True) if has_data
            ]
            if cursor == 0:
                return

    def forget(self, keys: Iterable[str]) -> None:
        """Delete entries, but no graves; the next write of a key counts, whatever its version."""
        pipeline = self._redis.pipeline(transaction=False)
        for key in keys:
            pipeline.eval(FORGET, 1, key)
        pipeline.execute()


class UserCacheHandler:
    """The handler of `chat.user.created` for the event consumer (`events.consumer.TopicHandler`)."""

    def __init__(self, cache: VersionedCache) -> None:
        self._cache = cache

    def start_offset(self, partition: int) -> int | None:
        return None

    def store(self, records: Sequence[ReceivedRecord]) -> None:
        envelopes = [decode_versioned(record, EventType.USER_CREATED) for record in records]
        self._cache.write(Entry(user_key(e.data["id"]), e.version or 0, e.data) for e in envelopes)

    def skip(self, record: ReceivedRecord) -> None:
        """Kafka's committed offset says all."""


def user_key(username: str) -> str:
    return f"user:{username}"


def decode_versioned(record: ReceivedRecord, *types: EventType) -> Envelope:
    """The envelope of a record that must be of one of these types and have a version; raise `InvalidRecord`."""
    envelope = Envelope.decode(record.value)
    if envelope.type not in types or envelope.version is None:
        raise InvalidRecord(f"{envelope.type} with the version {envelope.version} does not belong on {record.topic}.")
    return envelope

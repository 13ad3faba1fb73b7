"""What Redis knows of rooms for the list: who is online, and what was said last."""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson
import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from rooms.presence import PEOPLE

logger = logging.getLogger(__name__)


class Figures(NamedTuple):
    """`online` None: unknown, since Redis is away. `last_message`: a `message` frame; None when there is none, or none
    known."""

    online: int | None
    last_message: dict[str, Any] | None


UNKNOWN = Figures(None, None)


def last_message_key(room: int) -> str:
    """The key under which the event consumer puts a room's last message through `accounts.cache.VersionedCache`: the
    place of its last change in the log as the version, the frame as data."""
    return f"room:{room}:last_message"


class RoomFigures:
    """Usable from any thread. Redis may be away: then everything is unknown, at once and without an error."""

    def __init__(self, redis_url: str, **redis_options: Any) -> None:
        self._redis = redis.Redis.from_url(redis_url, retry=Retry(NoBackoff(), 0), **redis_options)

    def read(self, rooms: Sequence[int]) -> dict[int, Figures]:
        """The figures of each room, in one round trip."""
        pipeline = self._redis.pipeline(transaction=False)
        for room in rooms:
            pipeline.eval(PEOPLE, 0, room, 0)
            pipeline.hget(last_message_key(room), "data")
        try:
            answers = pipeline.execute() if rooms else []
        except RedisError as error:
            logger.warning("The room list has no figures at the moment: %s", error)
            return dict.fromkeys(rooms, UNKNOWN)
        return {
            room: Figures(online[0], orjson.loads(message) if message else None)
            for room, online, message in zip(rooms, answers[::2], answers[1::2], strict=True)
        }

    def close(self) -> None:
        self._redis.close()

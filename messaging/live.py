"""What each web process says of itself in Redis every few seconds, so that one page can show them all together.

`live:processes` is a sorted set, process → Redis' time of its last word; `live:{process}` is a hash of its figures;
`live:{process}:people` a HyperLogLog of the people connected to it, whose union counts everybody once (within 1 %).
All of it ends by itself with the process.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from socket import gethostname
from typing import Any

import redis
import redis.asyncio

from accounts.redis_calls import RedisUnavailable, in_time

logger = logging.getLogger(__name__)

INTERVAL = 5.0  # seconds
LIFETIME = 15  # seconds that a process is believed
PROCESSES = "live:processes"

Figures = Mapping[str, float]


class LiveFigures:
    """Tells the figures of one web process; belongs to one event loop. Redis may be away: then nobody is told."""

    def __init__(self, redis_url: str, **redis_options: Any) -> None:
        self._redis = redis.asyncio.Redis.from_url(redis_url, **redis_options)
        self._process = f"{gethostname()}-{os.getpid()}"

    async def keep_telling(self, figures: Callable[[], tuple[Figures, Iterable[int]]]) -> None:
        """Tell for ever what `figures` returns: numbers, and the people who are connected."""
        while True:
            try:
                await in_time(self.tell(*figures()))
            except RedisUnavailable as error:
                logger.debug("The live figures are not told: %s", error)
            await asyncio.sleep(INTERVAL)

    async def tell(self, figures: Figures, people: Iterable[int]) -> None:
        seconds, _ = await self._redis.time()
        key, crowd = f"live:{self._process}", f"live:{self._process}:people"
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.zadd(PROCESSES, {self._process: seconds})
        pipeline.zremrangebyscore(PROCESSES, "-inf", seconds - LIFETIME)
        pipeline.hset(key, mapping={name: str(number) for name, number in figures.items()})
        pipeline.delete(crowd)
        pipeline.pfadd(crowd, *people)
        for each in (PROCESSES, key, crowd):
            pipeline.expire(each, LIFETIME)
        await pipeline.execute()

    async def close(self) -> None:
        await self._redis.aclose()


def read_live(redis_url: str, **redis_options: Any) -> tuple[dict[str, dict[str, float]], int]:
    """The figures of each web process that lives, and how many people are connected to any. Raises `RedisError`."""
    with redis.Redis.from_url(redis_url, decode_responses=True, **redis_options) as client:
        seconds: Any = client.time()
        names: Any = client.zrangebyscore(PROCESSES, seconds[0] - LIFETIME, "+inf")
        pipeline = client.pipeline(transaction=False)
        for name in names:
            pipeline.hgetall(f"live:{name}")
        figures = dict(zip(names, pipeline.execute(), strict=True))
        people: Any = client.pfcount(*[f"live:{name}:people" for name in names]) if names else 0
    return {name: {key: float(number) for key, number in each.items()} for name, each in figures.items()}, int(people)

"""How often somebody may do something: token buckets in Redis, shared by all servers, or in the process alone.

`settings.LIMITS` says how much each limit allows. While Redis is away every process counts by itself.
"""

import logging
from collections import OrderedDict
from functools import cache
from ipaddress import IPv6Address, ip_address, ip_network
from math import ceil
from threading import Lock
from time import monotonic
from typing import Any, NamedTuple

import redis
from django.conf import settings
from prometheus_client import Counter
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from accounts.errors import ChatError, ErrorCode

logger = logging.getLogger(__name__)

limited_total = Counter("chat_rate_limited_total", "What was refused since it came too often.", ["limit"])

# Buckets that a process keeps; one that has been full for long is the same as none.
MAX_BUCKETS = 100_000
# After a call that failed Redis is left alone for so long, or everybody would wait for its time-out.
PAUSE = 5.0  # seconds

# KEYS: the bucket, a hash: `tokens`, and `at`, the milliseconds of Redis' clock when that was so. ARGV: burst, per in
# milliseconds, tokens to take (less than 0: to give back). Returns 0, or milliseconds until there are as many.
TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local burst, per, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local known = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = burst
if known[1] then tokens = math.min(burst, known[1] + math.max(0, now - known[2]) * burst / per) end
if tokens < wanted then return math.ceil((wanted - tokens) * per / burst) end
tokens = math.min(burst, tokens - wanted)
redis.call('HSET', KEYS[1], 'tokens', string.format('%.6f', tokens), 'at', string.format('%.3f', now))
redis.call('PEXPIRE', KEYS[1], per)
return 0
"""


class Limit(NamedTuple):
    """`burst` at once, and as many again, evenly, within `per` seconds."""

    burst: int
    per: float


class LocalBuckets:
    """Token buckets of this process. Safe for threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        # key → (tokens, monotonic seconds when that was so); the one that was used last stands last.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, limit: Limit, tokens: int = 1) -> float:
        """Take tokens (less than 0: give back). Returns 0, or in how many seconds there will be as many."""
        now, rate = monotonic(), limit.burst / limit.per
        with self._lock:
            there, since = self._buckets.get(key, (limit.burst, now))
            there = min(limit.burst, there + (now - since) * rate)
            if there < tokens:
                return (tokens - there) / rate
            self._buckets[key] = (min(limit.burst, there - tokens), now)
            self._buckets.move_to_end(key)
            if len(self._buckets) > MAX_BUCKETS:
                self._buckets.popitem(last=False)
            return 0.0


class SharedBuckets:
    """Token buckets in Redis, by its clock; each expires when it would be full. Safe for threads."""

    def __init__(self, redis_url: str, local: LocalBuckets, **redis_options: Any) -> None:
        self._redis = redis.Redis.from_url(redis_url, retry=Retry(NoBackoff(), 0), **redis_options)
        self._take = self._redis.register_script(TAKE)
        self._local = local
        # Monotonic time from which on Redis is asked; None: it has answered last.
        self._ask_from: float | None = None

    def take(self, key: str, limit: Limit, tokens: int = 1) -> float:
        """As `LocalBuckets.take`, and from these while Redis is away."""
        if self._ask_from is None or monotonic() >= self._ask_from:
            try:
                wait = self._take(keys=[f"limit:{key}"], args=[limit.burst, ceil(limit.per * 1000), tokens])
            except RedisError as error:
                if self._ask_from is None:
                    logger.warning("Each process counts by itself at the moment: Redis: %s", error)
                self._ask_from = monotonic() + PAUSE
            else:
                self._ask_from = None
                return float(wait) / 1000
        return self._local.take(key, limit, tokens)

    def close(self) -> None:
        """Close the connections; may be repeated."""
        self._redis.close()


_local = LocalBuckets()


@cache
def _shared() -> SharedBuckets:
    return SharedBuckets(settings.REDIS_URL, _local, **settings.REDIS_OPTIONS)


def require(name: str, who: object) -> None:
    """Count what somebody does, on all servers together; raise `ChatError` `rate_limited` when it is too often. Asks
    Redis, so it belongs into a thread."""
    _check(name, _shared().take(f"{name}:{who}", settings.LIMITS[name]))


def require_address(name: str, address: str) -> None:
    """`require` for a client's address, unless it is one of `TRUSTED_NETWORKS`."""
    if not is_trusted(address):
        require(name, network_of(address))


def require_here(name: str, who: object) -> None:
    """`require` in this process alone, without asking anybody."""
    _check(name, _local.take(f"{name}:{who}", settings.LIMITS[name]))


def give_back(name: str, who: object) -> None:
    """What `require` has counted was none."""
    _shared().take(f"{name}:{who}", settings.LIMITS[name], -1)


def is_trusted(address: str) -> bool:
    """Whether an address is free of the limits by address."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    return any(ip in network for network in settings.TRUSTED_NETWORKS)


def network_of(address: str) -> str:
    """Whose address it is, as far as one can tell: with IPv6 everybody has a whole network of /64."""
    try:
        ip = ip_address(address)
    except ValueError:
        return address
    return str(ip_network((ip, 64), strict=False) if isinstance(ip, IPv6Address) else ip)


def too_often(name: str, wait: float) -> ChatError:
    """The refusal of what may be done again in `wait` seconds; counts it."""
    limited_total.labels(name).inc()
    wait = max(1.0, wait)
    return ChatError(ErrorCode.RATE_LIMITED, f"That was too often; try again in {ceil(wait)} s.", retry_after=wait)


def _check(name: str, wait: float) -> None:
    if wait:
        raise too_often(name, wait)

"""Counting what somebody may do only so often, in Redis; without it nothing is counted."""

from contextlib import suppress

from django.core.cache import cache

from accounts.errors import ChatError, ErrorCode


def count_attempt(name: str, *, most: int, window: int) -> None:
    """Raise `ChatError` `rate_limited` when `name` has been counted `most` times within `window` seconds."""
    key = f"attempts:{name}"
    # `add` starts the window and `incr` leaves its end where it is. The key may expire between the two.
    with suppress(ValueError):
        if not cache.add(key, 1, window) and (cache.incr(key) or 0) > most:
            remaining: int | None = cache.ttl(key)  # type: ignore[attr-defined]  # of django-redis
            raise ChatError(ErrorCode.RATE_LIMITED, "Too often; wait.", retry_after=float(max(1, remaining or 1)))

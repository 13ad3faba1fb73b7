"""Hashing passwords: slow on purpose, so that it needs a bound of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from django.db import connection

from accounts.errors import ChatError, ErrorCode

AT_ONCE = BoundedSemaphore(2)
PATIENCE = 10.0  # seconds that somebody waits for a turn


def release_connection() -> None:
    """Give this thread's connection back to the pool before a long wait: there are few, and everybody needs them. The
    next query takes one again. Within a transaction nothing happens."""
    if not connection.in_atomic_block:
        connection.close()


@contextmanager
def hashing() -> Iterator[None]:
    """Around whatever hashes a password for somebody who may be anybody. Raises `ChatError` `unavailable` while too
    many wait."""
    release_connection()
    if not AT_ONCE.acquire(timeout=PATIENCE):
        raise ChatError(ErrorCode.UNAVAILABLE, "Too many people sign in at the moment.", retry_after=5)
    try:
        yield
    finally:
        AT_ONCE.release()

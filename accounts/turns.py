"""Waiting without holding up others: what many may want at once, and the connections that they need."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from django.db import connection

from accounts.errors import ChatError, ErrorCode


class Turns:
    """At most `at_once` threads of this process at a time; who waits for more than `patience` seconds is told
    `refusal`, and to come back after `retry_after` seconds."""

    def __init__(self, at_once: int, *, patience: float, refusal: str, retry_after: float) -> None:
        self._places = BoundedSemaphore(at_once)
        self._patience = patience
        self._refusal = refusal
        self._retry_after = retry_after

    @contextmanager
    def take(self) -> Iterator[None]:
        """Raises `ChatError` `unavailable`."""
        if not self._places.acquire(timeout=self._patience):
            raise ChatError(ErrorCode.UNAVAILABLE, self._refusal, retry_after=self._retry_after)
        try:
            yield
        finally:
            self._places.release()


# Hashing passwords is slow on purpose.
HASHING = Turns(2, patience=10.0, refusal="Too many people sign in at the moment.", retry_after=5)


@contextmanager
def hashing() -> Iterator[None]:
    """Around whatever hashes a password for somebody who may be anybody. Raises `ChatError` `unavailable` while too
    many wait."""
    release_connection()
    with HASHING.take():
        yield


def release_connection() -> None:
    """Give this thread's connection back to the pool before a long wait: there are few, and everybody needs them. The
    next query takes one again. Within a transaction nothing happens."""
    if not connection.in_atomic_block:
        connection.close()

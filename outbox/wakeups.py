"""What wakes the poller: a commit that recorded an event, a released lease, or its own process."""

import logging
import os
import select
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import sql

logger = logging.getLogger(__name__)


class Wakeups:
    """LISTEN on a connection of its own, which is made anew when it breaks; `wake()` may be called from a signal
    handler and from any thread. The waiting is done by one thread; `close()` may be called twice."""

    def __init__(self, connect: Callable[[], "psycopg.Connection[Any]"], *, channel: str = "outbox") -> None:
        self._connect = connect
        self._channel = channel
        self._connection: psycopg.Connection[Any] | None = None
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._closed = False

    def wait(self, timeout: float) -> bool:
        """Wait for at most `timeout` seconds; whether something has called. A fresh LISTEN counts as a call, since
        whatever was committed before it has called nobody."""
        if self._connection is None and self._listen():
            return True
        watched = [self._reader, *([] if self._connection is None else [self._connection.fileno()])]
        readable, _, _ = select.select(watched, [], [], timeout)
        self._drain(readable)
        return bool(readable)

    def wake(self) -> None:
        """End the present wait, or the next one; after `close()` nobody waits any more."""
        if self._closed:
            return
        try:
            os.write(self._writer, b"!")
        except BlockingIOError:
            return  # The pipe is full of calls already.

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._hang_up()
            os.close(self._reader)
            os.close(self._writer)

    def _listen(self) -> bool:
        try:
            self._connection = self._connect()
            self._connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
        except psycopg.Error as error:
            logger.warning("Nobody can call from the database, polling goes on: %s", error)
            self._hang_up()
            return False
        return True

    def _drain(self, readable: list[int]) -> None:
        if self._reader in readable:
            os.read(self._reader, 4096)
        if self._connection is not None and self._connection.fileno() in readable:
            try:
                for _ in self._connection.notifies(timeout=0):
                    pass
            except psycopg.Error as error:
                logger.warning("The database has hung up, listening anew: %s", error)
                self._hang_up()

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

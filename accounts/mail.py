"""Sending mail behind the request, so that nobody waits for the mail server, or sees from the time whether there was
a mail to send."""

import logging
from collections.abc import Callable, Iterable
from queue import Full, Queue
from threading import Lock, Thread

from django.core.mail import EmailMessage
from django.db import connection

logger = logging.getLogger(__name__)

MAX_WAITING = 100

# Makes the mails, in the postman's thread.
Make = Callable[[], Iterable[EmailMessage]]


class Postman:
    """One thread of this process, started with the first mail. What waits when the process ends is lost, and so is what
    the mail server refuses: people ask again."""

    def __init__(self, *, max_waiting: int = MAX_WAITING) -> None:
        self._waiting: Queue[Make] = Queue(max_waiting)
        self._lock = Lock()
        self._thread: Thread | None = None

    def post(self, make: Make) -> None:
        """Make and send mails, soon; at once when they are too many, it is logged that they are lost."""
        self._start()
        try:
            self._waiting.put_nowait(make)
        except Full:
            logger.error("Mails are lost: %d wait for the mail server already.", self._waiting.maxsize)

    def _start(self) -> None:
        with self._lock:
            # A daemon, since a mail server that hangs must not keep a process from stopping.
            if self._thread is None:
                self._thread = Thread(target=self._run, name="mail", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            make = self._waiting.get()
            try:
                for message in make():
                    message.send()
            except Exception as error:
                # Only its kind: what a mail server says names addresses. And the next mail may be a better one.
                logger.error("A mail was not sent: %s.", type(error).__name__)
            finally:
                connection.close()


postman = Postman()

"""A poller that stops itself (SIGSTOP) once between producing a batch and marking it. Arguments: the holder's lease in
seconds and the port of its metrics."""

import os
import signal
import sys
from collections.abc import Sequence
from uuid import UUID

import django

django.setup()

from django.conf import settings  # noqa: E402 (Django must be set up first)
from prometheus_client import start_http_server  # noqa: E402

from outbox.publisher import Publisher, Trouble  # noqa: E402
from outbox.rows import Row  # noqa: E402
from tests.integration.outbox_support import make_poller  # noqa: E402


class PausingPublisher(Publisher):
    paused = False

    def publish(self, rows: Sequence[Row], *, epoch: int) -> dict[UUID, Trouble | None]:
        fate = super().publish(rows, epoch=epoch)
        if not self.paused:
            self.paused = True
            os.kill(os.getpid(), signal.SIGSTOP)
        return fate


if __name__ == "__main__":
    life, port = float(sys.argv[1]), int(sys.argv[2])
    start_http_server(port, addr="127.0.0.1")
    poller = make_poller(life=life, publisher=PausingPublisher(settings.KAFKA_BOOTSTRAP_SERVERS))
    signal.signal(signal.SIGTERM, lambda *_: poller.stop())
    poller.run()

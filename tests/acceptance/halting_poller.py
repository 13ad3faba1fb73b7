"""A poller that sends itself a signal at one point of its first batch. Arguments: the holder's lease in seconds, the
port of its metrics, the point (`read`, `produced`, `acknowledged`) and the signal's name."""

import os
import signal
import sys
from collections.abc import Sequence
from uuid import UUID

import django

django.setup()

from confluent_kafka import Producer  # noqa: E402 (Django must be set up first)
from django.conf import settings  # noqa: E402
from prometheus_client import start_http_server  # noqa: E402

from outbox.publisher import Publisher, Trouble  # noqa: E402
from outbox.rows import Row  # noqa: E402
from tests.integration.outbox_support import make_poller  # noqa: E402


class HaltingPublisher(Publisher):
    """`read`: nothing is produced yet; `produced`: librdkafka has the first rows, and nobody has waited for a report;
    `acknowledged`: Kafka has the whole batch, and no row is marked."""

    def __init__(self, point: str, number: signal.Signals) -> None:
        super().__init__(settings.KAFKA_BOOTSTRAP_SERVERS)
        self._point = point
        self._number = number

    def publish(self, rows: Sequence[Row], *, epoch: int) -> dict[UUID, Trouble | None]:
        self._pass("read")
        fate = super().publish(rows, epoch=epoch)
        self._pass("acknowledged")
        return fate

    def _flush(self, producer: Producer, timeout: float) -> bool:
        self._pass("produced")
        return super()._flush(producer, timeout)

    def _pass(self, point: str) -> None:
        if point == self._point:
            self._point = ""
            os.kill(os.getpid(), self._number)


if __name__ == "__main__":
    life, port, point, number = float(sys.argv[1]), int(sys.argv[2]), sys.argv[3], signal.Signals[sys.argv[4]]
    start_http_server(port, addr="127.0.0.1")
    poller = make_poller(life=life, publisher=HaltingPublisher(point, number))
    signal.signal(signal.SIGTERM, lambda *_: poller.stop())
    poller.run()

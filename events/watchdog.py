"""Watching the event consumer from outside its loop, since a loop that hangs cannot say so."""

import logging
from threading import Event, Thread
from typing import Any

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]

from events import metrics
from events.kept_admin import KeptAdmin
from events.progress import Place, Progress

logger = logging.getLogger(__name__)

TIMEOUT = 2.0  # seconds that Kafka has for an answer; so long may `close` take


class Watchdog:
    """Asks Kafka where the logs end, every `interval` seconds: shows the lag, and says once when nothing gets on.

    `start()` and `close()` are a pair; closing twice is fine.
    """

    def __init__(self, bootstrap_servers: str, progress: Progress, *, interval: float = 5.0) -> None:
        self._admin = KeptAdmin(bootstrap_servers, client_id="event-watchdog")
        self._progress = progress
        self._interval = interval
        self._closing = Event()
        self._thread = Thread(target=self._run, name="event-watchdog", daemon=True)
        # What is known to be wrong.
        self._problem: str | None = None

    def start(self) -> None:
        metrics.READY.set_function(lambda: float(self._progress.problem() is None))
        metrics.STOPPED.set_function(lambda: float(self._progress.stopped))
        self._thread.start()

    def close(self) -> None:
        """Waits for a question to Kafka that is under way."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closing.wait(self._interval):
            try:
                self._progress.measure(self._ends(self._progress.places))
            except (KafkaException, TimeoutError) as error:
                logger.warning("The lag is not known: %s", error)
            for topic, lag in self._progress.lags().items():
                metrics.LAG.labels(topic).set(lag)
            self._tell(self._progress.problem())

    def _ends(self, places: list[Place]) -> dict[Place, int]:
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        # An answer is asked for also when this process has no partition: it shows that Kafka can be reached.
        with self._admin.asking() as admin:
            if not places:
                admin.list_topics(timeout=TIMEOUT)
                return {}
            partitions = {TopicPartition(topic, partition): latest for topic, partition in places}
            asked: dict[TopicPartition, Any] = admin.list_offsets(partitions, request_timeout=TIMEOUT)
            return {(each.topic, each.partition): future.result(TIMEOUT + 1).offset for each, future in asked.items()}

    def _tell(self, problem: str | None) -> None:
        if problem and not self._problem:
            logger.critical("Not ready: %s", problem)
        elif self._problem and not problem:
            logger.info("Ready again.")
        self._problem = problem

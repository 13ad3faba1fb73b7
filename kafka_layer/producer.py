"""The process's one producer, and the thread that collects its delivery reports."""

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from threading import Event, Lock, Thread
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from kafka_layer.counters import Counters
from kafka_layer.errors import LayerClosed, NotProduced, PublishFailed, RecordTooLarge
from kafka_layer.reach import reaches_kafka
from kafka_layer.received import position_of
from kafka_layer.records import Position
from kafka_layer.wakeups import Wakeups

logger = logging.getLogger(__name__)

# Idempotent: a retry inside the client neither repeats nor reorders. A record that Kafka has not confirmed within
# message.timeout.ms is reported as failed, so that the application's own retry does not wait for minutes.
SETTINGS: Mapping[str, Any] = {
    "acks": "all",
    "enable.idempotence": True,
    "compression.type": "lz4",
    "linger.ms": 1,
    "message.timeout.ms": 5000,
    "message.max.bytes": 1_048_588,
    "queue.buffering.max.messages": 100_000,
    "queue.buffering.max.kbytes": 131_072,
    "topic.metadata.propagation.max.ms": 5000,
}


STUCK_AFTER = 5.0  # seconds of nothing but time-outs, after which another producer is tried


class QueueFull(NotProduced):
    """The producer's queue is full: Kafka does not take records as fast as they come."""


class RecordProducer:
    """Produce from any thread. Futures are finished in their own event loops, many with one hand-over."""

    def __init__(self, settings: Mapping[str, Any], counters: Counters) -> None:
        self._settings = dict(settings)
        self._counters = counters
        self._broken = False  # a fatal error was reported: this handle will never produce again
        self._failing_since: float | None = None  # monotonic: of time-outs without a success in between
        self._closing = Event()
        self._wakeups = Wakeups()  # touched by the thread only
        # Held to produce, and to part with a handle: nobody collects the reports of what is produced behind that.
        self._lock = Lock()
        self._has_ended = False
        self._producer = self._make()
        self._thread = Thread(target=self._run, name="kafka-layer-producer", daemon=True)
        self._thread.start()

    def produce(
        self, position: tuple[str, int], key: str, value: bytes, headers: Mapping[str, str | bytes]
    ) -> "asyncio.Future[Position]":
        """Raises NotProduced or LayerClosed; the future raises PublishFailed. Bound to the running event loop."""
        future: asyncio.Future[Position] = asyncio.get_running_loop().create_future()
        self._produce(position, key, value, headers, partial(self._report, future))
        return future

    def produce_unconfirmed(
        self, position: tuple[str, int], key: str, value: bytes, headers: Mapping[str, str | bytes]
    ) -> None:
        """Raises NotProduced or LayerClosed. A later failure is counted and logged, and nobody else hears of it."""
        self._produce(position, key, value, headers, self._report_unconfirmed)

    def close(self) -> None:
        """Wait for what is under way, at most message.timeout.ms; the rest is reported as failed."""
        self._closing.set()
        self._thread.join()

    def _make(self) -> Producer:
        try:
            return Producer({**self._settings, "error_cb": self._on_error}, logger=logger)
        except KafkaException as error:
            raise NotProduced(f"librdkafka refuses the settings in `client`: {error}") from error

    def _produce(self, position: tuple[str, int], key: str, value: bytes, headers: Any, report: Any) -> None:
        topic, partition = position
        fields = {"partition": partition, "headers": list(headers.items()), "on_delivery": report}
        try:
            with self._lock:
                if self._has_ended:
                    raise LayerClosed("The channel layer was closed.")
                self._producer.produce(topic, value, key.encode(), **fields)
        except BufferError as error:
            self._counters.add_loss("not_produced", "the producer's queue is full")
            raise QueueFull("The producer's queue is full; Kafka is not keeping up or cannot be reached.") from error
        except KafkaException as error:
            self._counters.add_loss("not_produced", error)
            if error.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE:
                raise RecordTooLarge(f"{len(value)} bytes are more than a record may have.") from error
            raise NotProduced(str(error)) from error

    def _run(self) -> None:
        while not self._closing.is_set():
            self._poll()
            self._wakeups.flush()
            try:
                if self._broken:
                    self._replace(self._make(), "fatal error")
                elif self._is_failing():
                    self._replace_if_stuck()
            except NotProduced as error:
                # Where no thread or socket can be had for another handle just now.
                self._counters.add_loss("producer_errors", error)
        with self._lock:
            self._has_ended = True
        self._drain(self._producer, float(self._settings["message.timeout.ms"]) / 1000)

    def _poll(self) -> None:
        try:
            self._producer.poll(0.1)
        except (KafkaException, SystemError) as error:
            # librdkafka's wrapper raises a fatal error out of here, and does not tell it to `_on_error`. This thread
            # must go on: without it whoever waits for a report would wait for ever.
            self._counters.add_loss("producer_errors", error)
            self._broken = True

    def _is_failing(self) -> bool:
        return self._failing_since is not None and time.monotonic() - self._failing_since > STUCK_AFTER

    def _replace_if_stuck(self) -> None:
        """After a broker's restart under traffic librdkafka may time out one message after the other for good, although
        the broker is back: it does not get out of renewing its idempotence. Then only another handle helps. While Kafka
        cannot be reached by another one either, this one keeps what it still may deliver.
        """
        other = self._make()
        if reaches_kafka(other):
            self._replace(other, f"nothing but time-outs for {STUCK_AFTER:g} s")
        else:
            self._failing_since = None  # asked again when the next time-outs have lasted as long

    def _replace(self, other: Producer, reason: str) -> None:
        """Nothing more can be produced with this handle: go on with another one."""
        with self._lock:
            broken, self._producer = self._producer, other
        self._failing_since = None
        self._counters.add_loss("producers_replaced", reason)
        self._drain(broken, 0)
        self._broken = False  # whatever the old one has said at its end

    def _drain(self, producer: Producer, timeout: float) -> None:
        for wait in (timeout, 1.0):
            with suppress(KafkaException, SystemError):  # a fatal error, again
                producer.flush(wait)
            producer.purge()
        self._wakeups.flush()

    def _note(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self._failing_since = None
            self._counters.add("records_published")
            self._counters.publish_seconds.observe(message.latency() or 0.0)
        elif error.code() == KafkaError._MSG_TIMED_OUT and self._failing_since is None:
            self._failing_since = time.monotonic()

    def _on_error(self, error: KafkaError) -> None:
        self._counters.add_loss("producer_errors", error)
        self._broken = self._broken or error.fatal()

    def _report(self, future: "asyncio.Future[Position]", error: KafkaError | None, message: Message) -> None:
        self._note(error, message)
        if error is None and (message.offset() or 0) >= 0:
            self._wakeups.add(future, position_of(message))
            return
        # Without an offset the broker has it from an earlier try but no longer knows where.
        self._counters.add_loss("publishes_failed", error)
        self._wakeups.add(future, error=PublishFailed(str(error or "stored, at a place that Kafka does not tell")))

    def _report_unconfirmed(self, error: KafkaError | None, message: Message) -> None:
        self._note(error, message)
        if error is not None:
            self._counters.add_loss("publishes_failed", error)

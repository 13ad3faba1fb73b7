"""Channels without `!`: any process may read them, and each message goes to one reader among all."""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Event, Thread
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from kafka_layer.codec import Codec
from kafka_layer.counters import Counters
from kafka_layer.mailbox import Entry, Mailboxes
from kafka_layer.reach import is_cut_off
from kafka_layer.received import channel_of, headers_of, key_of, origin_of, position_of
from kafka_layer.wakeups import Wakeups
from kafka_layer.window import RepeatWindow

logger = logging.getLogger(__name__)

SETTINGS: Mapping[str, Any] = {
    "enable.auto.commit": False,
    "auto.offset.reset": "earliest",  # what retention has deleted was expired long before
    "allow.auto.create.topics": False,
    "session.timeout.ms": 10_000,  # so long a dead reader's messages wait for the next one
    "heartbeat.interval.ms": 1000,
    "fetch.wait.max.ms": 100,
    "fetch.error.backoff.ms": 50,
}
PATIENCE = 1.0  # seconds without a reader until fetching stops
REACH_INTERVAL = 5.0  # seconds
LOOK = 0.1  # seconds; how long the thread may not see that it is to end


class SharedChannel:
    """One thread that owns one Consumer in the channel's own group: in a group for several channels, Kafka would hand
    a channel's partition to a process that does not read it.

    A message is taken only when somebody waits for it, and its offset is committed before it is handed over: it is
    lost with a process that dies in that moment, and never delivered twice.
    """

    def __init__(
        self,
        channel: str,
        topic: str,
        client: Mapping[str, Any],
        mailboxes: Mailboxes,
        counters: Counters,
        *,
        codec: Codec,
        expiry: float,
        on_death: Callable[[], None],
    ) -> None:
        self._channel = channel
        self._topic = topic
        self._client = client
        self._settings = {**client, **SETTINGS, "group.id": f"{topic}.{channel}"}
        self._mailboxes = mailboxes
        self._counters = counters
        self._codec = codec
        self._expiry = expiry
        self._taken_through: dict[int, int] = {}  # partition -> the offset in front of which other readers took all
        self._origins = RepeatWindow(seconds=expiry)  # of what a group got, and several processes sent here
        self._on_death = on_death
        self._closing = False
        self._looked_at = time.monotonic()  # whether Kafka is reached
        self._demand = Event()  # set when somebody has begun to wait, or at the end
        self._handed_over: Message | None = None  # the last one, which may still lie unread in the mailbox
        self._thread = Thread(target=self._run, name="kafka-layer-channel", daemon=True)
        self._thread.start()

    def ask(self) -> None:
        """Somebody waits for a message."""
        self._demand.set()

    def close(self) -> None:
        self._closing = True
        self._demand.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._closing:
                self._read_while_connected()
        except Exception:
            logger.critical("The reader of channel %s has died.", self._channel, exc_info=True)
            self._on_death()

    def _read_while_connected(self) -> None:
        """With one consumer, until the end or until it is cut off from Kafka."""
        consumer = Consumer({**self._settings, "error_cb": self._on_error}, logger=logger)
        try:
            consumer.subscribe([self._topic], on_assign=self._on_assign)
            while self._wait_for_demand(consumer):
                message = consumer.poll(LOOK)
                if message is not None and message.error() is None and self._is_ours(message):
                    self._hand_over(consumer, message)
                elif message is None and self._is_cut_off(consumer):
                    self._counters.add_loss(
                        "reader_restarts", f"that of channel {self._channel} was cut off from Kafka"
                    )
                    return
            self._give_back(consumer)
        finally:
            consumer.close()

    def _is_cut_off(self, consumer: Consumer) -> bool:
        """Looked at now and then, while nothing comes."""
        now = time.monotonic()
        if now - self._looked_at < REACH_INTERVAL:
            return False
        self._looked_at = now
        return is_cut_off(consumer, self._client, self._topic)

    def _wait_for_demand(self, consumer: Consumer) -> bool:
        """Until then only the group is kept alive, and the messages stay for readers in other processes to come. False
        at the end: what lies unread then is given back, and nothing may be taken on top of it.
        """
        deadline = time.monotonic() + PATIENCE
        paused: list[TopicPartition] = []
        while not self._closing and not self._mailboxes.is_empty_and_awaited(self._channel):
            self._demand.clear()
            if self._mailboxes.is_empty_and_awaited(self._channel):
                break
            self._demand.wait(LOOK)
            if time.monotonic() > deadline:
                paused = consumer.assignment()
                consumer.pause(paused)
                self._keep_alive(consumer)
        still_ours = [partition for partition in consumer.assignment() if partition in paused]
        consumer.resume(still_ours)
        return not self._closing

    def _keep_alive(self, consumer: Consumer) -> None:
        message = consumer.poll(0)
        if message is not None and message.error() is None:
            # Of a partition that was assigned just now: it must be read again when somebody waits.
            with suppress(KafkaException):  # or it has been taken away again, and another process reads it
                consumer.seek(TopicPartition(*position_of(message)))

    def _is_ours(self, message: Message) -> bool:
        headers, sent_at = headers_of(message), message.timestamp()[1]
        if key_of(message) != self._channel or channel_of(headers) != self._channel:
            return False
        origin = origin_of(headers)
        if origin is not None and self._origins.is_repeat(self._channel, origin, sent_at):
            return False
        _, partition, offset = position_of(message)
        if offset < self._taken_through.get(partition, 0):
            return False
        if sent_at / 1000 + self._expiry < time.time():
            self._counters.add_loss("messages_expired", f"nobody read channel {self._channel}")
            return False
        return True

    def _hand_over(self, consumer: Consumer, message: Message) -> None:
        try:
            consumer.commit(message=message, asynchronous=False)
        except KafkaException as error:
            # The partition may belong to another process by now, which then delivers the message.
            self._counters.add_loss("messages_not_taken", error)
            return
        self._handed_over = message
        value = message.value() or b""
        wakeups = Wakeups()
        entry = Entry(lambda: self._codec.decode(value), time.monotonic() + self._expiry)
        self._mailboxes.deliver(self._channel, entry, wakeups)
        wakeups.flush()

    def _give_back(self, consumer: Consumer) -> None:
        """A message whose reader went away before it took it is for the next reader, here or elsewhere."""
        if self._handed_over is None or not self._mailboxes.withdraw(self._channel):
            return
        try:
            consumer.commit(offsets=[TopicPartition(*position_of(self._handed_over))], asynchronous=False)
        except KafkaException as error:
            self._counters.add_loss("messages_lost", error)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Start as far back as a message may wait for its first reader; what other readers have taken of that is read
        for its origins alone.
        """
        try:
            starts = self._find_starts(consumer, partitions)
        except KafkaException as error:
            self._counters.add_loss("channel_errors", error)
            starts = partitions  # from the committed offset, or the log's start: expired messages are passed over
        consumer.assign(starts)

    def _find_starts(self, consumer: Consumer, partitions: list[TopicPartition]) -> list[TopicPartition]:
        committed = consumer.committed(partitions, timeout=5)
        self._taken_through = {p.partition: p.offset for p in committed if p.offset >= 0}
        self._origins.clear()
        # Looked up first, since a start at "the end" would skip what comes between now and the first fetch.
        ends = [consumer.get_watermark_offsets(p, timeout=5, cached=False)[1] for p in partitions]
        since = int((time.time() - self._expiry) * 1000)
        found = consumer.offsets_for_times([TopicPartition(p.topic, p.partition, since) for p in partitions], timeout=5)
        return [
            TopicPartition(p.topic, p.partition, p.offset if p.offset >= 0 else end)
            for p, end in zip(found, ends, strict=True)
        ]

    def _on_error(self, error: Any) -> None:
        self._counters.add_loss("channel_errors", error)

"""The process's one Consumer, and the thread that owns it: no other thread ever calls it, since librdkafka's Python
client makes such calls wait behind poll() without fairness.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, repeat
from threading import Event, Thread
from typing import Any
from uuid import uuid4

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]

from kafka_layer.counters import Counters
from kafka_layer.ends import Ends, Partition, list_offsets
from kafka_layer.errors import BrokerUnavailable, LayerClosed, LayerError, TopicMismatch, TopicMissing
from kafka_layer.fanout import Fanout
from kafka_layer.received import position_of
from kafka_layer.records import Position
from kafka_layer.topics import Incarnation, Topics

logger = logging.getLogger(__name__)

# No consumer group is ever joined: the partitions are assigned by hand, and each process reads all of them. An offset
# that the broker no longer has is an error to be handled here (a gap), never a jump that nobody hears of.
SETTINGS: Mapping[str, Any] = {
    "enable.auto.commit": False,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",  # as in ends.py: a partition ends where an open transaction begins
    "enable.partition.eof": True,
    "allow.auto.create.topics": False,
    "fetch.wait.max.ms": 100,
    "fetch.queue.backoff.ms": 10,
    "fetch.error.backoff.ms": 50,
}
BATCH = 500  # more at once would hold the interpreter for too long
SWEEP_INTERVAL = 5.0  # seconds
MAX_GRACE = 12  # sweeps, a minute
RETRY_INTERVALS = (0.1, 0.2, 0.5, 1.0)  # seconds; the last one again and again


class Reader:
    """Tails every partition of the topics from explicit offsets into the fan-out, until it is closed."""

    def __init__(
        self,
        client: Mapping[str, Any],
        fanout: Fanout,
        counters: Counters,
        *,
        topics: Topics,
        connect: Callable[[], Mapping[str, Incarnation]],
        replayed_topics: Sequence[str],
        replay: float,
        on_ready: Callable[[], None],
        on_trouble: Callable[[LayerError], None],
        on_end: Callable[[LayerClosed], None],
    ) -> None:
        """`connect` says what the topics are, and raises LayerError when that fails."""
        self._client = client
        self._fanout = fanout
        self._counters = counters
        self._topics = topics
        self._connect = connect
        self._replayed_topics = frozenset(replayed_topics)
        self._replay = replay
        self._on_ready = on_ready
        self._on_trouble = on_trouble
        self._on_end = on_end
        self._closing = Event()
        self._ahead: dict[Partition, int] = {}  # partition -> the end seen at start, until the tail is read up to it
        self._lost: set[Partition] = set()  # their next offset is one that the broker does not have
        self._ends: Ends | None = None
        # Partition -> the last offset read, and how many looks before the latest one have found that the log has more.
        self._behind: dict[Partition, tuple[int, int]] = {}
        self._grace = 1  # looks that a consumer may stand still for
        self._deaf: set[Partition] = set()  # for whose sake the consumer was replaced, and of which nothing has come
        self._has_emptied = False  # since that look: all that the client had fetched was taken in
        self._swept_at = 0.0
        self._thread = Thread(target=self._run, name="kafka-layer-reader", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        """Whatever ends it, a process that has gone deaf must not look healthy: `on_end` makes the layer unready."""
        reason = "The channel layer was closed."
        try:
            starts = self._resolve_until_found()
            if starts is not None:
                self._tail(starts)
        except TopicMismatch as error:
            reason = str(error)
            logger.critical("This process receives nothing more. %s", reason)
        except Exception:
            reason = "The reader of the channel layer has died; see the log."
            logger.critical("The reader has died; this process receives nothing more.", exc_info=True)
        finally:
            self._on_end(LayerClosed(reason))

    def _resolve_until_found(self) -> dict[Partition, int] | None:
        intervals = chain(RETRY_INTERVALS, repeat(RETRY_INTERVALS[-1]))
        while True:
            try:
                return self._resolve()
            except LayerError as error:
                self._counters.add_loss("start_failures", error)
                self._on_trouble(error)
                self._topics.close()  # a handle that has asked too early may find no leaders for good
            if self._closing.wait(next(intervals)):
                return None

    def _resolve(self) -> dict[Partition, int]:
        """Where the tail of each partition starts: far enough back that the repeat window is full where rings begin."""
        counts = {topic: found.partitions for topic, found in self._connect().items()}
        partitions = [TopicPartition(topic, p) for topic, count in counts.items() for p in range(count)]
        latest: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        ends = list_offsets(self._topics.admin, dict.fromkeys(partitions, latest))
        replayed = [p for p in partitions if p.topic in self._replayed_topics]
        starts = self._find_since(time.time() - 2 * self._replay, replayed, ends)
        rings_from = self._find_since(time.time() - self._replay, replayed, ends)
        self._ahead = {partition: end for partition, end in ends.items() if starts[partition] < end}
        self._fanout.open(counts, starts, rings_from)
        return starts

    def _find_since(
        self, moment: float, partitions: list[TopicPartition], ends: dict[Partition, int]
    ) -> dict[Partition, int]:
        """For each of `partitions` the first offset since `moment` (seconds since 1970), for all others their ends."""
        since = dict.fromkeys(partitions, OffsetSpec.for_timestamp(int(moment * 1000)))
        found = list_offsets(self._topics.admin, since)
        # -1: nothing is that young.
        return ends | {partition: min(start, ends[partition]) for partition, start in found.items() if start >= 0}

    def _tail(self, starts: Mapping[Partition, int]) -> None:
        self._ends = Ends(self._topics, list(starts))
        consumer = self._open(starts)
        try:
            ready = False
            while not self._closing.is_set():
                first = consumer.poll(0.1)
                messages = [first, *consumer.consume(BATCH, 0)] if first is not None else []
                self._has_emptied = self._has_emptied or len(messages) <= BATCH
                if messages:
                    self._take_in(consumer, messages)
                for partition in list(self._lost):
                    self._jump(consumer, *partition)
                if not ready and not self._ahead:
                    ready = True
                    self._on_ready()
                if self._is_deaf_at_times():
                    consumer.close()
                    self._lost.clear()
                    consumer = self._open({each: self._fanout.read_through(*each) + 1 for each in starts})
        finally:
            consumer.close()

    def _open(self, starts: Mapping[Partition, int]) -> Consumer:
        """A consumer that reads each partition from its offset on."""
        settings = {**self._client, **SETTINGS, "group.id": f"kafka-layer-{uuid4().hex}", "error_cb": self._on_error}
        consumer = Consumer(settings, logger=logger)
        consumer.assign([TopicPartition(topic, p, offset) for (topic, p), offset in starts.items()])
        return consumer

    def _take_in(self, consumer: Consumer, messages: list[Message]) -> None:
        records = [message for message in messages if message.error() is None]
        self._fanout.take_in(records)
        if self._deaf and not self._deaf.isdisjoint(position_of(record)[:2] for record in records):
            self._grace = 1
            self._deaf.clear()
        self._look_for_ends(consumer, records)
        for message in messages:
            error = message.error()
            if error is not None:
                self._handle(message, error)
        for partition, end in list(self._ahead.items()):
            if self._fanout.read_through(*partition) >= end - 1:
                del self._ahead[partition]

    def _look_for_ends(self, consumer: Consumer, records: list[Message]) -> None:
        """Under steady traffic no fetch is empty, and then librdkafka never says that it stands at an end."""
        for (topic, partition), offset in {position[:2]: position[2] for position in map(position_of, records)}.items():
            _, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), cached=True)
            if end == offset + 1:
                self._fanout.caught_up(Position(topic, partition, end))

    def _handle(self, message: Message, error: KafkaError) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            self._fanout.caught_up(position_of(message))
        elif error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            self._lost.add(position_of(message)[:2])
        else:
            self._counters.add_loss("reader_errors", error)  # the client itself tries again

    def _jump(self, consumer: Consumer, topic: str, partition: int) -> None:
        """Go on from the log's start; or from its end, when the log has become shorter than what was read."""
        try:
            # A topic that was created anew begins anew: then nothing more of it may be shown as the old one's.
            self._topics.resolve(5)
            start, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=5, cached=False)
        except (KafkaException, BrokerUnavailable, TopicMissing) as error:
            self._counters.add_loss("reader_errors", error)
            return  # the partition stays lost until a broker answers
        position = self._fanout.read_through(topic, partition) + 1
        target = start if position < start else min(position, end)
        if target != position:
            self._counters.add_loss("jumps", f"{topic} [{partition}] goes on at {target} instead of {position}")
            self._fanout.jump(topic, partition, target)
        consumer.incremental_unassign([TopicPartition(topic, partition)])
        consumer.incremental_assign([TopicPartition(topic, partition, target)])
        self._lost.discard((topic, partition))

    def _is_deaf_at_times(self) -> bool:
        """Keep house now and then. True when the consumer gets nothing although there is more: librdkafka may lose a
        broker that hung for a while, and never look for it again.
        """
        now = time.monotonic()
        if now - self._swept_at < SWEEP_INTERVAL:
            return False
        self._swept_at = now
        self._fanout.sweep()
        self._topics.look()
        return self._is_deaf()

    def _is_deaf(self) -> bool:
        """Whether a partition stands where it stood at the look before, and both times the log had more. Not while
        there is so much of other partitions to take in that its own records may still wait behind them. A new consumer
        has twice as long, until one brings something of it: where Kafka answers slowly, none would get that far.
        """
        ends = self._ends.look() if self._ends is not None else {}
        behind: dict[Partition, tuple[int, int]] = {}
        for partition, end in ends.items():
            read_through = self._fanout.note_end(*partition, end)
            if read_through < end - 1:
                stood, looks = self._behind.get(partition, (None, 0))
                behind[partition] = read_through, looks + 1 if stood == read_through else 0
        stands = [partition for partition, (_, looks) in behind.items() if looks >= self._grace]
        deaf = stands if self._has_emptied else []
        if ends:
            self._behind, self._has_emptied = {} if deaf else behind, False
        if deaf:
            self._deaf.update(deaf)
            self._grace = min(2 * self._grace, MAX_GRACE)
        for topic, number in deaf:
            self._counters.add_loss("reader_restarts", f"{topic} [{number}] has more, and nothing of it comes")
        return bool(deaf)

    def _on_error(self, error: KafkaError) -> None:
        self._counters.add_loss("reader_errors", error)

"""The loop that reads the created topics for the group `chat-server` and hands them to handlers.

It never dies of a record and never skips one in silence: what is transient is tried again in place with the partition
paused, what is permanently bad is found by bisection and set aside on the dead-letter topic with its reason. When too
many are bad, the partition stands still and says so, since then it is not the records.
"""

import logging
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import Event
from time import monotonic, time
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, close_old_connections
from redis.exceptions import RedisError

from events import metrics
from events.bad_share import WINDOW, BadShare
from events.dead_letters import DeadLetters
from events.envelope import InvalidRecord
from events.errors import TooManyBad
from events.models import OffsetConflict
from events.progress import Progress
from events.topics import Topic

logger = logging.getLogger(__name__)

GROUP = "chat-server"
BATCH = 500  # records
POLL = 0.2  # seconds
MAX_BACKOFF = 5.0  # seconds
SESSION = 6.0  # seconds; the least that brokers allow
MAX_BAD = 20  # of the last 100 records of a partition
ASK_TIMEOUT = 2.0  # seconds, for one question to Kafka about where to go on; all partitions wait for it
ERROR_REST = 10.0  # seconds between two lines about connections that fail

# Faults of a service, not of a record: a lost connection, a read-only standby, a table that is not migrated yet …
TRANSIENT = (DatabaseError, InterfaceError, RedisError, KafkaException, ConnectionError, TimeoutError)
# … except what PostgreSQL says about the values themselves.
PERMANENT = (DataError, IntegrityError)


class LogCutOff(Exception):
    """Kafka has lost records that are stored, as one broker does that loses power; `offset` is the next to store. What
    is said now gets their offsets, and going on at `offset` would leave it out."""

    def __init__(self, topic: str, partition: int, offset: int, end: int) -> None:
        super().__init__(
            f"Kafka has lost records: the log ends at {end}, and {offset} of them are stored. Stop all that writes, and"
            " create the topic anew, which begins a new epoch."
        )
        self.place = topic, partition
        self.offset = offset


class NothingComes(Exception):
    """Kafka has records that do not arrive here."""


@dataclass(frozen=True, slots=True)
class ReceivedRecord:
    """A record as Kafka has it; `timestamp_ms` by the broker's clock."""

    topic: str
    partition: int
    offset: int
    key: str | None
    value: bytes
    headers: Mapping[str, bytes]
    timestamp_ms: int


class TopicHandler(Protocol):
    """What to do with the records of one topic. Everything must be safe to repeat."""

    def start_offset(self, partition: int) -> int | None:
        """The offset to go on from, or None: Kafka's committed one, else the oldest. Asked at each assignment."""

    def store(self, records: Sequence[ReceivedRecord]) -> None:
        """Handle records of one partition, in order, all or none. Raise `InvalidRecord` for a bad one."""

    def skip(self, record: ReceivedRecord) -> None:
        """Note that a record was set aside."""


@dataclass(slots=True)
class Stall:
    """A paused partition that waits for a service: its records are tried again at `retry_at` (monotonic seconds)."""

    attempts: int
    retry_at: float
    # Empty: it is still to be asked where to begin.
    records: list[ReceivedRecord] = field(default_factory=list)


class EventConsumer:
    """One thread, one Kafka consumer; several of these processes share the partitions.

    `run()` returns after `stop()`, which may be called from a signal handler: the batch in hand is finished. It raises
    `KafkaException` when this handle cannot work any more, for instance because another process has its `instance_id`;
    then the process is to be started anew. `progress` tells how far it is.

    `instance_id`: a name that this process keeps across restarts and that no other one has. When it comes back within
    SESSION nothing is handed over in between, also after a crash.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        handlers: Mapping[Topic, TopicHandler],
        group: str = GROUP,
        max_backoff: float = MAX_BACKOFF,
        max_bad: int = MAX_BAD,
        instance_id: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.progress = progress or Progress()
        self._handlers: dict[str, TopicHandler] = {topic.value: handler for topic, handler in handlers.items()}
        self._max_backoff = max_backoff
        self._dead_letters = DeadLetters(bootstrap_servers)
        self._stopping = Event()
        # (topic, partition) → what waits there; such a partition is paused.
        self._stalls: dict[tuple[str, int], Stall] = {}
        # Kept when a partition goes, so that one which comes and goes is not set aside bit by bit.
        self._shares: dict[tuple[str, int], BadShare] = defaultdict(lambda: BadShare(max_bad))
        # Whose logs were found to be cut off; when they have grown again nothing is seen of it any more.
        self._cut_off: dict[tuple[str, int], LogCutOff] = {}
        # Monotonic time before which no further error of librdkafka's is logged.
        self._rest_until = 0.0
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                "group.id": group,
                "client.id": "event-consumer",
                "enable.auto.commit": False,
                # Never `latest`: a record that was there before the first assignment must be handled too.
                "auto.offset.reset": "earliest",
                "partition.assignment.strategy": "cooperative-sticky",
                # A crashed member's partitions go to another one after this time.
                "session.timeout.ms": int(SESSION * 1000),
                "heartbeat.interval.ms": 1500,
                "fetch.wait.max.ms": 100,
                "fetch.queue.backoff.ms": 20,
                "fetch.error.backoff.ms": 100,
                "reconnect.backoff.ms": 50,
                "reconnect.backoff.max.ms": 1000,
                "socket.keepalive.enable": True,
                **({} if instance_id is None else {"group.instance.id": instance_id}),
                # A line for each attempt to connect would bury the log.
                "log_level": 2,
                "error_cb": self._note_error,
            },
            logger=logger,
        )
        for name in self._handlers:
            metrics.STALLED.labels(name).set_function(partial(self._count_stalls, name))

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        """Handle records until `stop`. Raises `KafkaException` or `NothingComes` when only another one can go on."""
        self._consumer.subscribe(list(self._handlers), on_assign=self._assigned, on_revoke=self._revoked,
                                 on_lost=self._revoked)  # fmt: skip
        try:
            while not self._stopping.is_set():
                self.progress.turn()
                for (topic, partition), records in self._poll().items():
                    stall = self._stalls.get((topic, partition))
                    if stall is None:
                        self._note_gap(records[0])
                        self._handle(topic, partition, records, attempts=0)
                    elif stall.records:
                        # They were fetched before the pause took effect.
                        stall.records.extend(records)
                self._retry_stalls()
                # A client that has lost all brokers may never find them again (librdkafka issue 5301).
                if (stuck := self.progress.stuck(self._stalls)) is not None:
                    raise NothingComes(stuck)
        finally:
            self._consumer.close()
            self._dead_letters.close()

    # Reading

    def _poll(self) -> dict[tuple[str, int], list[ReceivedRecord]]:
        """What has arrived, by partition. `consume(n, timeout)` alone would wait out the whole time-out."""
        first = self._consumer.poll(POLL)
        messages: list[Message] = [] if first is None else [first, *self._consumer.consume(BATCH - 1, 0)]
        batches: dict[tuple[str, int], list[ReceivedRecord]] = defaultdict(list)
        for message in messages:
            error = message.error()
            if error is None:
                record = _received(message)
                batches[record.topic, record.partition].append(record)
            elif error.code() == KafkaError._FATAL:
                raise KafkaException(error)
            elif error.code() != KafkaError._PARTITION_EOF:
                self._note_error(error)
        # A partition may have been revoked while its records were handed over; its next owner reads them.
        owned = {(partition.topic, partition.partition) for partition in self._consumer.assignment()}
        return {place: records for place, records in batches.items() if place in owned}

    def _note_error(self, error: KafkaError) -> None:
        """librdkafka tries again by itself, many times a second while no broker answers."""
        if monotonic() >= self._rest_until:
            self._rest_until = monotonic() + ERROR_REST
            logger.warning("Kafka: %s", error)

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Go on from where the database says, which is right also when a commit was lost."""
        waiting: list[TopicPartition] = []
        unanswered: Exception | None = None
        topics = list(self._handlers)
        for partition in sorted(partitions, key=lambda one: (topics.index(one.topic), one.partition)):
            try:
                if unanswered is not None:
                    raise unanswered
                offset = self._start_offset(partition.topic, partition.partition)
            except TRANSIENT as error:
                # Without the database's word nothing may be stored; the group must not wait for it either, nor those
                # partitions whose place is known for the questions about all others.
                unanswered = error
                self._note_stall(partition.topic, partition.partition, [], 1, error)
                waiting.append(partition)
            except LogCutOff as error:
                self._stand_still(error)
                self._note_stall(partition.topic, partition.partition, [], 2, error)
                waiting.append(partition)
            else:
                partition.offset = offset
                self.progress.begin((partition.topic, partition.partition), offset)
        consumer.incremental_assign(partitions)
        # A partition that waited here once, went and came back would be paused for ever: librdkafka does not forget it.
        consumer.resume(partitions)
        if waiting:
            consumer.pause(waiting)
        logger.info("Assigned: %s", _names(partitions))

    def _start_offset(self, topic: str, partition: int) -> int:
        """Where to go on. Raises one of `TRANSIENT` when nobody can say, and `LogCutOff`."""
        close_old_connections()
        offset = self._handlers[topic].start_offset(partition)
        place = TopicPartition(topic, partition)
        if offset is not None:
            _, end = self._consumer.get_watermark_offsets(place, ASK_TIMEOUT)
            if offset > end:
                self._cut_off[topic, partition] = LogCutOff(topic, partition, offset, end)
            if (topic, partition) in self._cut_off:
                raise self._cut_off[topic, partition]
            return offset
        (committed,) = self._consumer.committed([place], ASK_TIMEOUT)
        if committed.error is not None:
            raise KafkaException(committed.error)
        if committed.offset >= 0:
            return int(committed.offset)
        oldest, _ = self._consumer.get_watermark_offsets(place, ASK_TIMEOUT)
        return int(oldest)

    def _stand_still(self, error: LogCutOff) -> None:
        self.progress.move(error.place, error.offset)
        if self.progress.stop(error.place, str(error)):
            logger.critical("%s[%d] stands still: %s", *error.place, error)

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for partition in partitions:
            self._stalls.pop((partition.topic, partition.partition), None)
            self.progress.end((partition.topic, partition.partition))
        consumer.incremental_unassign(partitions)
        logger.info("Revoked: %s", _names(partitions))

    # Handling

    def _handle(self, topic: str, partition: int, records: list[ReceivedRecord], *, attempts: int) -> None:
        """Store a batch; afterwards the partition stands behind it, or waits with the rest of it."""
        done = 0
        try:
            close_old_connections()
            for part in self._parts(self._handlers[topic], records):
                self._note_handled(records[done : done + part])
                done += part
        except OffsetConflict as error:
            logger.warning("%s Reading on from the stored offset.", error)
            self._seek_to_stored(topic, partition, attempts=attempts)
        except TooManyBad as error:
            if self.progress.stop((topic, partition), str(error)):
                logger.critical("%s[%d] stands still: %s", topic, partition, error)
            self._stall(topic, partition, records[done:], attempts + 1, error)
        except TRANSIENT as error:
            self._stall(topic, partition, records[done:], attempts + 1, error)
        else:
            self._resume(topic, partition)
        if done:
            self._commit(records[done - 1])

    def _parts(self, handler: TopicHandler, records: Sequence[ReceivedRecord]) -> Iterator[int]:
        """Store records, halving around what is bad; yields how many more are dealt with after each step."""
        try:
            handler.store(records)
        except Exception as error:
            if isinstance(error, OffsetConflict) or _is_transient(error):
                raise
            if len(records) > 1:
                middle = len(records) // 2
                yield from self._parts(handler, records[:middle])
                yield from self._parts(handler, records[middle:])
                return
            self._set_aside(handler, records[0], error)
        else:
            self._shares[records[0].topic, records[0].partition].note_good(len(records))
        yield len(records)

    def _set_aside(self, handler: TopicHandler, record: ReceivedRecord, error: Exception) -> None:
        """The dead letter is acknowledged before the offset moves: nothing is dropped in between. Raises `TooManyBad`
        instead when the share of bad records says that it is not this record's fault."""
        reason, share = _reason(error), self._shares[record.topic, record.partition]
        if share.is_exhausted:
            raise TooManyBad(
                f"The record at {record.offset} is bad like many of the last {WINDOW} ({reason}). Mend the deployment;"
                " it is tried again until then. If the records are to blame, start with a higher --max-bad."
            )
        self._dead_letters.produce(record, reason=reason)
        handler.skip(record)
        share.note_bad()
        metrics.DEAD.labels(record.topic).inc()
        logger.error("%s[%d]@%d was set aside: %s", record.topic, record.partition, record.offset, reason)

    def _note_gap(self, first: ReceivedRecord) -> None:
        """Say what is missing between where this process stood and what Kafka had for it."""
        missing = first.offset - self.progress.next_offset((first.topic, first.partition), default=first.offset)
        if missing > 0:
            metrics.LOST.labels(first.topic).inc(missing)
            logger.critical(
                "%s[%d]: %d records before %d are gone; Kafka deleted them before they were handled.",
                first.topic, first.partition, missing, first.offset,
            )  # fmt: skip

    def _note_handled(self, records: Sequence[ReceivedRecord]) -> None:
        first, last = records[0], records[-1]
        self.progress.move((last.topic, last.partition), last.offset + 1)
        metrics.HANDLED.labels(last.topic).inc(len(records))
        metrics.LAG_SECONDS.labels(last.topic).observe(max(0.0, time() - first.timestamp_ms / 1000))

    def _commit(self, last: ReceivedRecord) -> None:
        """Advisory: it shows the lag, and serves the topics whose handlers keep no offset."""
        try:
            self._consumer.commit(
                offsets=[TopicPartition(last.topic, last.partition, last.offset + 1)], asynchronous=True
            )
        except KafkaException as error:
            logger.warning("The offset %d of %s[%d] was not committed: %s", last.offset + 1, last.topic,
                           last.partition, error)  # fmt: skip

    # Waiting for a service

    def _stall(
        self, topic: str, partition: int, records: list[ReceivedRecord], attempts: int, error: Exception
    ) -> None:
        """Pause the partition and keep its records; polling goes on, so that the group keeps this member."""
        if (topic, partition) not in self._stalls:
            self._consumer.pause([TopicPartition(topic, partition)])
        self._note_stall(topic, partition, records, attempts, error)

    def _note_stall(
        self, topic: str, partition: int, records: list[ReceivedRecord], attempts: int, error: Exception
    ) -> None:
        metrics.RETRIES.labels(topic).inc()
        if attempts == 1:
            logger.warning("%s[%d] waits: %s", topic, partition, _reason(error))
        self._stalls[topic, partition] = Stall(attempts, monotonic() + self._backoff(attempts), records)

    def _retry_stalls(self) -> None:
        for (topic, partition), stall in list(self._stalls.items()):
            if monotonic() < stall.retry_at:
                continue
            if stall.records:
                self._handle(topic, partition, stall.records, attempts=stall.attempts)
            elif not self._seek_to_stored(topic, partition, attempts=stall.attempts):
                # Whoever asks for all of them keeps those waiting that have records.
                return

    def _resume(self, topic: str, partition: int) -> None:
        if self._stalls.pop((topic, partition), None) is not None:
            self.progress.go_on((topic, partition))
            logger.info("%s[%d] goes on.", topic, partition)
            self._consumer.resume([TopicPartition(topic, partition)])

    def _seek_to_stored(self, topic: str, partition: int, *, attempts: int) -> bool:
        """Read on from where the database says, or Kafka where the handler leaves it to Kafka; false when neither
        does."""
        try:
            offset = self._start_offset(topic, partition)
            self._consumer.seek(TopicPartition(topic, partition, offset))
            self.progress.begin((topic, partition), offset)
        except TRANSIENT as error:
            self._stall(topic, partition, [], attempts + 1, error)
            return False
        except LogCutOff as error:
            self._stand_still(error)
            self._stall(topic, partition, [], attempts + 1, error)
        else:
            self._resume(topic, partition)
        return True

    def _count_stalls(self, topic: str) -> float:
        return float(sum(stalled == topic for stalled, _ in list(self._stalls)))

    def _backoff(self, attempts: int) -> float:
        """Seconds to wait: doubling up to a cap, with full jitter above a tenth of it."""
        cap = min(self._max_backoff, 0.1 * 2 ** min(attempts, 10))
        return random.uniform(cap / 10, cap)  # noqa: S311 (jitter, no secret)


def _received(message: Any) -> ReceivedRecord:
    """A message of librdkafka that is no error: then everything but key and value is there."""
    key = message.key()
    return ReceivedRecord(
        topic=message.topic(),
        partition=message.partition(),
        offset=message.offset(),
        # A key that is no text can be written down again as it was.
        key=None if key is None else key.decode(errors="surrogateescape"),
        value=message.value() or b"",
        headers={name: value or b"" for name, value in message.headers() or ()},
        timestamp_ms=message.timestamp()[1],
    )


def _is_transient(error: Exception) -> bool:
    return isinstance(error, TRANSIENT) and not isinstance(error, PERMANENT)


def _reason(error: Exception) -> str:
    """One line. What PostgreSQL adds in further lines names values, which may be somebody's words."""
    if isinstance(error, InvalidRecord):
        return str(error)
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"


def _names(partitions: Sequence[TopicPartition]) -> str:
    return ", ".join(f"{partition.topic}[{partition.partition}]" for partition in partitions)

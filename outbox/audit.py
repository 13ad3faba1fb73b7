"""Comparing the outbox with Kafka: what is marked as sent is there, nothing is there that was not committed, and no row
is missing between two others of an aggregate.

No false alarm comes from what happens meanwhile. A row is marked after Kafka has acknowledged its record, so first a
moment of the database's clock is fixed, then Kafka is asked where its logs end: whatever was marked up to that moment
lies before those ends. A record's row was committed before the record was produced, so rows are looked up after their
records were read.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from time import monotonic
from typing import Any
from uuid import UUID

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition, murmur2
from django.db import connection
from django.db.models import Exists, Min, OuterRef, QuerySet

from events.topics import TOPICS, Topic
from outbox.models import PENDING, OutboxEvent

logger = logging.getLogger(__name__)

# Where outbox rows go. A letter on the dead-letter topic has the headers of the record it is about, and is none itself.
AUDITED = tuple(topic for topic in Topic if topic not in (Topic.MESSAGE_NOTIFICATION, Topic.DEAD_LETTER))
# Nobody else writes these.
OWN = frozenset({Topic.USER_CREATED.value, Topic.ROOM_CREATED.value})
# What only the outbox sets; the headers of ordinary messages have an id at most.
HEADERS = frozenset({"id", "version", "epoch"})
# By how much the clocks of PostgreSQL and of the brokers may differ.
SLACK = timedelta(seconds=60)
# Marks that become visible late are still seen: so much of what was compared before is compared again.
OVERLAP = timedelta(minutes=2)
# A long window is audited in steps, so that memory holds the ids of one step and of the overlap: 250 bytes each.
STEP = timedelta(minutes=5)
REMEMBERED_AGGREGATES = 20_000  # whose highest version is known, 250 bytes each; the longest unseen are forgotten
BATCH = 500  # records, and rows
LISTED = 20  # offenders of each kind
TIMEOUT = 10.0  # seconds without anything from Kafka

Partition = tuple[str, int]


class Kind(StrEnum):
    READ_BACK = "read back"
    MISSING = "missing"
    PAST_RETENTION = "past retention"
    UNEXPECTED = "unexpected"
    REPEATED = "repeated"
    OUT_OF_ORDER = "out of order"
    BEHIND_GAP = "behind a gap"


ERRORS = (Kind.MISSING, Kind.UNEXPECTED, Kind.OUT_OF_ORDER, Kind.BEHIND_GAP)


class Findings:
    """How many of each kind, by the minute of `created_at`, or in which a record without a row was appended; the first
    offenders of each kind of error by their names, which hold nothing that people wrote."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[datetime, Kind]] = Counter()
        self.offenders: dict[Kind, list[str]] = defaultdict(list)

    def note(self, kind: Kind, created_at: datetime, offender: str = "") -> None:
        self.counts[created_at.replace(second=0, microsecond=0), kind] += 1
        if offender and len(self.offenders[kind]) < LISTED:
            self.offenders[kind].append(offender)

    def total(self, kind: Kind) -> int:
        return sum(count for (_, each), count in self.counts.items() if each is kind)


class Stopped(Exception):
    """The audit was told to stop before its end."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record that says it is the outbox's, or should be. `id` is text when it is none that a row could have; `time`
    is when the broker appended it."""

    id: UUID | str
    topic: str
    key: str
    version: str
    time: datetime


class Audit:
    """Follows the outbox and Kafka side by side; each record is read once.

    Judged are rows created since `since`. Those that were sent longer than `retention` ago may have been purged, so
    records older than that need no row. The ids in memory are those of one `STEP`, the `OVERLAP`, and of records whose
    rows are not marked yet.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        since: datetime,
        retention: timedelta,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._since = since
        self._retention = retention
        self._is_stopping = is_stopping
        # Everything that was marked up to this moment has been looked for.
        self._through = self._until = since
        # Partition → the next offset to read; empty before the first call.
        self._next: dict[Partition, int] = {}
        # Partition → when the oldest record was appended that it still had when older ones were found to be deleted.
        self._horizons: dict[Partition, datetime] = {}
        # Those of which that record is still to be read.
        self._headless: set[Partition] = set()
        # Id read, or known to be missing → when its row was marked; None: not yet, and until then it is not forgotten.
        self._seen: dict[UUID | str, datetime | None] = {}
        # Id of a row behind a gap → when it was marked.
        self._behind_gaps: dict[UUID, datetime] = {}
        # Topic, key and aggregate → the highest version read, in the order of the latest reading.
        self._highest: dict[tuple[str, str, str, str], int] = {}

    def advance(self, until: datetime, findings: Findings) -> None:
        """Audit everything up to `until`, a moment of the database's clock that has come (`database_now`).

        Raises `KafkaException` and `django.db.Error` when a service cannot be asked, and `Stopped`; what was found
        until then is in `findings`, and the next call goes on from there.
        """
        self._until = until
        consumer = self._make_consumer()
        try:
            ends = self._find_ends(consumer)
            while self._through < until:
                through = min(self._through + STEP, until)
                is_last = through == until
                self._read(consumer, ends if is_last else _offsets_at(consumer, through + SLACK, ends), findings)
                marked = self._marked(through)
                self._look_for_marked(marked, findings)
                self._look_for_gaps(marked, findings)
                self._through = through
                self._forget()
        finally:
            consumer.close()

    # Kafka

    def _make_consumer(self) -> Consumer:
        """A new one for each call: one that librdkafka has cut off would stay so."""
        config = {
            "bootstrap.servers": self._bootstrap_servers,
            "client.id": "outbox-audit",
            # Never joined: the partitions are assigned by hand, and nothing is committed.
            "group.id": "outbox-audit",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "allow.auto.create.topics": False,
            # The outbox uses no transactions: one that somebody else has open must not hide what lies behind it.
            "isolation.level": "read_uncommitted",
            "enable.partition.eof": True,
            # The memory of what is fetched ahead.
            "queued.max.messages.kbytes": 8192,
            "fetch.wait.max.ms": 100,
            "fetch.queue.backoff.ms": 10,
            # What goes wrong is raised; a line for each attempt to connect would bury the log.
            "log_level": 2,
        }
        return Consumer(config, logger=logger)

    def _find_ends(self, consumer: Consumer) -> dict[Partition, int]:
        """Where the partitions end now; the next offset of each is one that it has."""
        bounds = _bounds(consumer)
        ends = {partition: end for partition, (_, end) in bounds.items()}
        is_first = not self._next
        if is_first:
            self._next = _offsets_at(consumer, self._since - SLACK, ends)
        for partition, (start, end) in bounds.items():
            offset = self._next[partition]
            if offset < start or (is_first and offset == start > 0):
                # Older records were deleted unread.
                self._horizons[partition] = self._until
                self._headless.add(partition)
            if not start <= offset <= end:
                self._next[partition] = start
        return ends

    def _read(self, consumer: Consumer, ends: Mapping[Partition, int], findings: Findings) -> None:
        """Read each partition up to its end."""
        waiting = {partition: end for partition, end in ends.items() if self._next[partition] < end}
        consumer.assign([TopicPartition(*partition, self._next[partition]) for partition in waiting])
        patient_until = monotonic() + TIMEOUT
        while waiting:
            if self._is_stopping():
                raise Stopped
            if (first := consumer.poll(0.1)) is not None:
                patient_until = monotonic() + TIMEOUT
                # Not consume(n, t) alone: it waits out its whole time.
                self._take_in([first, *consumer.consume(BATCH, 0)], findings)
            elif monotonic() > patient_until:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "The topics were not read in time."))
            done = [partition for partition, end in waiting.items() if self._next[partition] >= end]
            for partition in done:
                del waiting[partition]
            if done:
                consumer.incremental_unassign([TopicPartition(*partition) for partition in done])

    def _take_in(self, messages: Sequence[Any], findings: Findings) -> None:
        received = [message for message in messages if message.error() is None]
        self._judge_all([record for message in received if (record := _record(message)) is not None], findings)
        for message in received:
            partition = (message.topic(), message.partition())
            self._next[partition] = message.offset() + 1
            if partition in self._headless:
                self._headless.discard(partition)
                self._horizons[partition] = _time(message)
        for message in messages:
            if (error := message.error()) is None:
                continue
            if error.code() == KafkaError._PARTITION_EOF:
                # The last records may be marks of somebody's transactions, which are never handed out.
                self._next[message.topic(), message.partition()] = message.offset()
            elif not error.retriable():
                raise KafkaException(error)

    # The comparison

    def _judge_all(self, records: Sequence[Record], findings: Findings) -> None:
        rows = _rows([record.id for record in records if isinstance(record.id, UUID)])
        for record in records:
            row = rows.get(record.id)
            if row is None:
                self._judge_foreign(record, findings)
            else:
                self._judge(record, row, findings)

    def _judge(self, record: Record, row: OutboxEvent, findings: Findings) -> None:
        # The second part is for ids that are forgotten: what comes long after the mark was there before it.
        is_repeated = record.id in self._seen or (row.sent_at is not None and record.time > row.sent_at + SLACK)
        self._seen[record.id] = row.sent_at
        is_late = not is_repeated and self._is_late(record, row)
        if row.created_at < self._since:
            # It may have been there before what was read.
            return
        if is_repeated:
            findings.note(Kind.REPEATED, row.created_at)
        elif row.created_at <= self._until:
            findings.note(Kind.READ_BACK, row.created_at)
        if is_late:
            findings.note(Kind.OUT_OF_ORDER, row.created_at, _name(row))

    def _is_late(self, record: Record, row: OutboxEvent) -> bool:
        """Whether a higher version was there before, so that readers drop this one."""
        place = (record.topic, record.key, row.aggregate_type, row.aggregate_id)
        highest = self._highest.pop(place, 0)
        self._highest[place] = max(highest, row.version)
        if len(self._highest) > REMEMBERED_AGGREGATES:
            del self._highest[next(iter(self._highest))]
        return row.version < highest

    def _judge_foreign(self, record: Record, findings: Findings) -> None:
        """A record without a row. Only the broker's time is believed, and nothing that it says is repeated."""
        if record.time < max(self._since, self._until - self._retention):
            return
        known_as = f"{record.id} {record.topic}"
        if known_as in self._seen:
            findings.note(Kind.REPEATED, record.time)
        else:
            self._seen[known_as] = record.time
            findings.note(Kind.UNEXPECTED, record.time, f"{known_as} version {record.version}")

    def _marked(self, through: datetime) -> QuerySet[OutboxEvent]:
        return OutboxEvent.objects.filter(
            sent_at__gt=self._through - OVERLAP, sent_at__lte=through, created_at__gte=self._since
        )

    def _look_for_marked(self, marked: QuerySet[OutboxEvent], findings: Findings) -> None:
        absent = []
        for id, sent_at in marked.values_list("id", "sent_at"):
            if id in self._seen:
                self._seen[id] = sent_at
            else:
                absent.append(id)
        for start in range(0, len(absent), BATCH):
            for row in _rows(absent[start : start + BATCH]).values():
                kind = Kind.PAST_RETENTION if self._is_past_retention(row) else Kind.MISSING
                findings.note(kind, row.created_at, _name(row))
                self._seen[row.id] = row.sent_at

    def _look_for_gaps(self, marked: QuerySet[OutboxEvent], findings: Findings) -> None:
        """Versions are dense within an aggregate: where one is not there and a lower one is, somebody has deleted its
        row, perhaps before it was sent. The purge begins with the lower ones; those that it may be about to take say
        nothing."""
        version, of_same = OuterRef("version"), {name: OuterRef(name) for name in ("aggregate_type", "aggregate_id")}
        same = OutboxEvent.objects.filter(**of_same)
        kept = same.filter(version__lt=version - 1).exclude(sent_at__lt=self._until - self._retention + STEP)
        behind = marked.filter(~Exists(same.filter(version=version - 1)), Exists(kept))
        for row in behind.exclude(pk__in=list(self._behind_gaps)).defer("payload", "last_error"):
            findings.note(Kind.BEHIND_GAP, row.created_at, _name(row))
            self._behind_gaps[row.id] = row.sent_at or self._until

    def _is_past_retention(self, row: OutboxEvent) -> bool:
        """Whether Kafka may have deleted the record."""
        spec = TOPICS.get(row.topic)
        if spec is None or row.created_at > self._until - spec.retention:
            return False
        horizon = self._horizons.get((row.topic, murmur2(row.key.encode(), spec.partitions)))
        return horizon is not None and row.created_at < horizon + SLACK

    def _forget(self) -> None:
        oldest = self._through - OVERLAP
        self._seen = {id: sent_at for id, sent_at in self._seen.items() if sent_at is None or sent_at > oldest}
        self._behind_gaps = {id: sent_at for id, sent_at in self._behind_gaps.items() if sent_at > oldest}


def oldest_pending() -> datetime | None:
    oldest: datetime | None = OutboxEvent.objects.filter(PENDING).aggregate(oldest=Min("created_at"))["oldest"]
    return oldest


def database_now() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    return moment


def _rows(ids: Sequence[UUID]) -> dict[Any, OutboxEvent]:
    """The rows without what they carry, by id."""
    return OutboxEvent.objects.defer("payload", "last_error").in_bulk(ids) if ids else {}


def _name(row: OutboxEvent) -> str:
    return f"{row.id} {row.topic} {row.subject} version {row.version}"


def _bounds(consumer: Consumer) -> dict[Partition, tuple[int, int]]:
    """The first offset of each partition and the one behind the last."""
    topics = consumer.list_topics(timeout=TIMEOUT).topics
    if absent := [topic.value for topic in AUDITED if topic not in topics]:
        raise KafkaException(
            KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, f"There is no topic {', '.join(absent)}: create_topics.")
        )
    partitions = [(topic.value, number) for topic in AUDITED for number in topics[topic].partitions]
    return {each: consumer.get_watermark_offsets(TopicPartition(*each), TIMEOUT) for each in partitions}


def _offsets_at(consumer: Consumer, moment: datetime, ends: Mapping[Partition, int]) -> dict[Partition, int]:
    """The first offset of each partition appended at `moment` or later, else its end."""
    milliseconds = int(moment.timestamp() * 1000)
    found = consumer.offsets_for_times([TopicPartition(*each, milliseconds) for each in ends], TIMEOUT)
    if failed := [each.error for each in found if each.error is not None]:
        raise KafkaException(failed[0])
    return {
        (each.topic, each.partition): each.offset if each.offset >= 0 else ends[each.topic, each.partition]
        for each in found
    }


def _record(message: Any) -> Record | None:
    """None: not the outbox's. Its value is not looked into."""
    headers = dict(message.headers() or ())
    if not headers.keys() >= HEADERS and message.topic() not in OWN:
        return None
    id, version, key = (_text(part) for part in (headers.get("id"), headers.get("version"), message.key()))
    id = id or f"{message.topic()}[{message.partition()}]@{message.offset()}"
    return Record(_uuid(id), message.topic(), key, version, _time(message))


def _time(message: Any) -> datetime:
    return datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)


def _text(part: bytes | None) -> str:
    """To look at: somebody may have put in what forges lines of a log."""
    text = (part or b"")[:200].decode(errors="backslashreplace")
    return text if text.isprintable() else ascii(text)


def _uuid(text: str) -> UUID | str:
    try:
        return UUID(text)
    except ValueError:
        return text

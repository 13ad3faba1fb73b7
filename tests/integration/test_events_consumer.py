"""The loop of the event consumer: it never dies of a record, and never skips one in silence."""

import json
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event, Thread
from time import monotonic
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from django.conf import settings
from django.db import OperationalError, connection, transaction

from events import metrics
from events.consumer import EventConsumer, ReceivedRecord
from events.envelope import Envelope, InvalidRecord
from events.models import ConsumedOffset, OffsetConflict, advance_offset
from events.probe import serve_probe
from events.progress import Progress
from events.provisioning import create_topics
from events.schemas import EventType
from events.topics import Topic
from events.watchdog import Watchdog
from tests.acceptance.processes import wait_for

PATIENCE = 30.0  # seconds until a test gives up waiting
CREATED = [Topic.USER_CREATED, Topic.ROOM_CREATED, Topic.MESSAGE_CREATED]


@pytest.fixture(scope="module", autouse=True)
def topics() -> None:
    create_topics(settings.KAFKA_BOOTSTRAP_SERVERS, replication=settings.KAFKA_REPLICATION)


class ToyHandler:
    """Handles room deletions: keeps the ids in the order of their arrival. Ids from 900 on name rooms that do not
    exist. `starts` are the offsets to begin with; without them Kafka's committed ones count."""

    def __init__(self, starts: dict[int, int] | None = None) -> None:
        self.starts = starts or {}
        self.ids: list[int] = []
        self.skipped: list[int] = []
        # Raised by the next calls of `store`, one by one.
        self.faults: list[Exception] = []
        # Raised by the next calls of `start_offset`.
        self.start_faults: list[Exception] = []

    def start_offset(self, partition: int) -> int | None:
        if self.start_faults:
            raise self.start_faults.pop(0)
        return self.starts.get(partition)

    def store(self, records: Sequence[ReceivedRecord]) -> None:
        if faults := self.faults:
            raise faults.pop(0)
        ids = [Envelope.decode(record.value).data["id"] for record in records]
        if max(ids) >= 900:
            raise InvalidRecord(f"Room {max(ids)} does not exist.")
        self.ids += ids

    def skip(self, record: ReceivedRecord) -> None:
        self.skipped.append(record.offset)


class StoringHandler(ToyHandler):
    """The same with its offsets in PostgreSQL, as storage does it."""

    def start_offset(self, partition: int) -> int | None:
        row = ConsumedOffset.objects.filter(topic=Topic.ROOM_CREATED, partition=partition).first()
        return None if row is None else row.next_offset

    def store(self, records: Sequence[ReceivedRecord]) -> None:
        with transaction.atomic():
            advance_offset(records[0].topic, records[0].partition, records[0].offset, records[-1].offset + 1)
        super().store(records)


def deletion(id: int, **changes: object) -> bytes:
    envelope = Envelope(
        id=str(uuid4()), type=EventType.ROOM_DELETED.value, subject=f"room/{id}", time="2026-11-23T10:00:00.000Z",
        version=1, data={"id": id, "kind": "public"},
    )  # fmt: skip
    return json.dumps({**json.loads(envelope.encode()), **changes}).encode()


def produce(topic: Topic, *values: bytes, partition: int = 0) -> None:
    producer = Producer({"bootstrap.servers": settings.KAFKA_BOOTSTRAP_SERVERS})
    for value in values:
        producer.produce(topic.value, key="key", value=value, partition=partition)
    assert producer.flush(PATIENCE) == 0


def ends(topic: Topic) -> dict[int, int]:
    consumer = Consumer({"bootstrap.servers": settings.KAFKA_BOOTSTRAP_SERVERS, "group.id": "test-ends"})
    try:
        partitions = consumer.list_topics(topic.value, timeout=PATIENCE).topics[topic.value].partitions
        return {n: consumer.get_watermark_offsets(TopicPartition(topic.value, n), PATIENCE)[1] for n in partitions}
    finally:
        consumer.close()


def read_from(topic: Topic, starts: dict[int, int], count: int) -> list[tuple[bytes, dict[str, bytes]]]:
    consumer = Consumer({"bootstrap.servers": settings.KAFKA_BOOTSTRAP_SERVERS, "group.id": f"test-{uuid4()}"})
    consumer.assign([TopicPartition(topic.value, partition, offset) for partition, offset in starts.items()])
    read: list[tuple[bytes, dict[str, bytes]]] = []
    end = monotonic() + PATIENCE
    while len(read) < count:
        assert monotonic() < end, f"{len(read)} of {count} records are there."
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            read.append((message.value(), dict(message.headers())))
    consumer.close()
    return read


@contextmanager
def running(
    topic: Topic,
    handler: ToyHandler,
    *,
    group: str | None = None,
    instance_id: str | None = None,
    max_bad: int = 20,
    patience: float = 600.0,
) -> Iterator[EventConsumer]:
    consumer = EventConsumer(
        settings.KAFKA_BOOTSTRAP_SERVERS, handlers={topic: handler}, group=group or f"test-{uuid4()}", max_backoff=0.3,
        instance_id=instance_id, max_bad=max_bad, progress=Progress(patience=patience),
    )  # fmt: skip

    def run() -> None:
        try:
            consumer.run()
        finally:
            connection.close()

    thread = Thread(target=run, name="event-consumer", daemon=True)
    thread.start()
    try:
        yield consumer
        assert thread.is_alive(), "The loop has ended by itself."
    finally:
        consumer.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive(), "The loop did not stop."


@pytest.mark.parametrize("topic", CREATED)
def test_bad_records_are_set_aside_with_their_reason_and_the_next_ones_are_handled(topic: Topic) -> None:
    """Not JSON, a future schema, a room that does not exist: each a dead letter that names its origin."""
    starts, graves = ends(topic), ends(Topic.DEAD_LETTER)
    bad = [b"not JSON", deletion(5, type="chat.room.deleted.v2"), deletion(901)]
    produce(topic, deletion(1), bad[0], deletion(2), deletion(3), bad[1], bad[2], deletion(4))
    handler = ToyHandler(starts)
    with running(topic, handler):
        wait_for(lambda: len(handler.ids) == 4, "the good records")
        dead = read_from(Topic.DEAD_LETTER, graves, 3)
    assert handler.ids == [1, 2, 3, 4]
    offsets = [starts[0] + n for n in (1, 4, 5)]
    assert handler.skipped == offsets
    assert [value for value, _ in dead] == bad
    reasons = ["value: Invalid JSON", "'chat.room.deleted.v2' has a major version unknown", "Room 901 does not exist."]
    for (_, headers), reason, offset in zip(dead, reasons, offsets, strict=True):
        assert headers["reason"].decode().startswith(reason)
        assert (headers["topic"], headers["partition"], headers["offset"]) == (
            topic.value.encode(), b"0", str(offset).encode()
        )  # fmt: skip


def test_a_record_that_a_handler_cannot_bear_is_found_among_many() -> None:
    """An error that nobody thought of is one record's fate, not the batch's."""
    starts = ends(Topic.ROOM_CREATED)
    produce(Topic.ROOM_CREATED, *(deletion(n) for n in range(1, 300)))

    class Brittle(ToyHandler):
        def store(self, records: Sequence[ReceivedRecord]) -> None:
            if any(Envelope.decode(record.value).data["id"] == 137 for record in records):
                raise ZeroDivisionError("one hundred and thirty-seven")
            super().store(records)

    handler = Brittle(starts)
    with running(Topic.ROOM_CREATED, handler):
        wait_for(lambda: len(handler.ids) == 298, "the good records")
    assert handler.ids == [n for n in range(1, 300) if n != 137]
    assert handler.skipped == [starts[0] + 136]


def test_when_too_many_records_are_bad_the_partition_stands_still_until_that_is_mended() -> None:
    """A wrong deployment does not empty a topic into the dead letters; other partitions go on, nothing is skipped, and
    what is not to blame is handled without a hand when the cause is gone."""
    starts, graves = ends(Topic.ROOM_CREATED), ends(Topic.DEAD_LETTER)

    class Misled(ToyHandler):
        def store(self, records: Sequence[ReceivedRecord]) -> None:
            if records[0].partition == 0 and not mended.is_set():
                raise InvalidRecord("A field is missing.")
            super().store(records)

    mended, handler = Event(), Misled(starts)
    produce(Topic.ROOM_CREATED, *(deletion(n) for n in range(1, 61)))
    with running(Topic.ROOM_CREATED, handler, max_bad=5) as consumer:
        wait_for(lambda: consumer.progress.problem(), "the stop")
        produce(Topic.ROOM_CREATED, deletion(101), partition=1)
        wait_for(lambda: handler.ids == [101], "the other partition")
        assert "A field is missing." in (consumer.progress.problem() or "")
        mended.set()
        wait_for(lambda: len(handler.ids) == 56, "the waiting records")
        assert consumer.progress.problem() is None
    assert handler.ids == [101, *range(6, 61)]
    assert handler.skipped == [starts[0] + n for n in range(5)]
    assert ends(Topic.DEAD_LETTER)[0] == graves[0] + 5


def test_records_that_kafka_deleted_before_they_were_handled_are_counted() -> None:
    """A retention that is too short for an outage is no silent loss."""
    starts = ends(Topic.ROOM_CREATED)
    produce(Topic.ROOM_CREATED, *(deletion(n) for n in range(1, 6)))
    admin = AdminClient({"bootstrap.servers": settings.KAFKA_BOOTSTRAP_SERVERS})
    cut = TopicPartition(Topic.ROOM_CREATED.value, 0, starts[0] + 3)
    for future in admin.delete_records([cut]).values():
        future.result(PATIENCE)
    lost = metrics.LOST.labels(Topic.ROOM_CREATED.value)
    before, handler = lost._value.get(), ToyHandler(starts)
    with running(Topic.ROOM_CREATED, handler):
        wait_for(lambda: handler.ids == [4, 5], "what is left")
    assert lost._value.get() - before == 3


def test_one_that_does_not_get_on_is_seen_from_outside() -> None:
    """The lag is measured and the probe turns red, while the loop itself only waits."""
    handler = ToyHandler(ends(Topic.ROOM_CREATED))
    handler.faults = [OperationalError("gone")] * 1000
    with running(Topic.ROOM_CREATED, handler, patience=5.0) as consumer, watched(consumer) as url:
        wait_for(lambda: consumer.progress.places, "the assignment")
        wait_for(lambda: read(f"{url}/ready") == (200, '{"ready": true, "problem": null}'), "the first measurement")
        produce(Topic.ROOM_CREATED, deletion(1), deletion(2))
        wait_for(lambda: read(f"{url}/ready")[0] == 503, "the alarm")
        wait_for(lambda: "makes no progress, and 2 records wait." in read(f"{url}/ready")[1], "its reason")
        for line in (
            f'chat_event_lag_records{{topic="{Topic.ROOM_CREATED}"}} 2.0',
            f'chat_event_stalled_partitions{{topic="{Topic.ROOM_CREATED}"}} 1.0',
            "chat_event_consumer_ready 0.0",
        ):
            wait_for(lambda line=line: line in read(f"{url}/metrics")[1], line)
        handler.faults = []
        wait_for(lambda: len(handler.ids) == 2, "the waiting records")
        wait_for(lambda: read(f"{url}/ready")[0] == 200, "the end of the alarm")
    assert handler.ids == [1, 2]


def test_a_watchdog_goes_on_while_kafka_is_away() -> None:
    """It says that nothing is known, as long as that is so."""
    progress = Progress(patience=1.0)
    progress.begin(("topic", 0), 0)
    watchdog = Watchdog("127.0.0.1:1", progress, interval=0.1)
    watchdog.start()
    try:
        for _ in range(3):
            progress.measure({("topic", 0): 0})
            progress.turn()
            assert progress.problem() is None
            wait_for(lambda: progress.turn() or progress.problem(), "the alarm")
            assert progress.problem() == "Kafka does not say where the logs end."
        assert watchdog._thread.is_alive()
    finally:
        watchdog.close()


@contextmanager
def watched(consumer: EventConsumer) -> Iterator[str]:
    """The address of the consumer's probe."""
    watchdog = Watchdog(settings.KAFKA_BOOTSTRAP_SERVERS, consumer.progress, interval=0.1)
    watchdog.start()
    server = serve_probe(0, problem=consumer.progress.problem)
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        watchdog.close()


def read(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.parametrize("fault", [OperationalError("gone"), ConnectionError("reset"), TimeoutError()])
def test_a_transient_fault_is_retried_in_place_while_other_partitions_go_on(fault: Exception) -> None:
    """Nothing is set aside, the order stays, and the group keeps the member."""
    starts = ends(Topic.ROOM_CREATED)

    class OneBad(ToyHandler):
        def store(self, records: Sequence[ReceivedRecord]) -> None:
            if records[0].partition == 0:
                attempts["failed"] += 1
                if not mended.is_set():
                    raise fault
            super().store(records)

    mended, attempts, handler = Event(), Counter[str](), OneBad(starts)
    with running(Topic.ROOM_CREATED, handler):
        produce(Topic.ROOM_CREATED, deletion(1), deletion(2))
        wait_for(lambda: attempts["failed"] >= 3, "three attempts")
        produce(Topic.ROOM_CREATED, deletion(3))
        produce(Topic.ROOM_CREATED, deletion(101), deletion(102), partition=1)
        wait_for(lambda: handler.ids == [101, 102], "the other partition")
        mended.set()
        wait_for(lambda: len(handler.ids) == 5, "the waiting partition")
    assert handler.ids == [101, 102, 1, 2, 3] and not handler.skipped


@pytest.mark.django_db(transaction=True)
def test_the_database_says_where_to_begin_also_when_it_is_away_at_first() -> None:
    """Kafka's committed offsets do not count then, and nothing is read before the answer."""
    starts = ends(Topic.ROOM_CREATED)
    produce(Topic.ROOM_CREATED, *(deletion(n) for n in range(1, 6)))
    handler = ToyHandler({**starts, 0: starts[0] + 2})
    handler.start_faults = [OperationalError("starting up")] * 5
    with running(Topic.ROOM_CREATED, handler):
        wait_for(lambda: len(handler.ids) == 3, "what comes behind the start")
    assert handler.ids == [3, 4, 5]


@pytest.mark.django_db(transaction=True)
def test_one_unanswered_question_holds_up_nobody_whose_place_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """While Kafka's coordinator is away each question about committed offsets lasts until its time-out."""
    monkeypatch.setattr("events.consumer.ASK_TIMEOUT", 30.0)
    asked: list[Topic] = []

    class Asked(ToyHandler):
        def __init__(self, topic: Topic, starts: dict[int, int]) -> None:
            super().__init__(starts)
            self._topic = topic

        def start_offset(self, partition: int) -> int | None:
            asked.append(self._topic)
            if self._topic == Topic.USER_CREATED:
                raise TimeoutError
            return super().start_offset(partition)

    starts, retries = ends(Topic.ROOM_CREATED), []
    known, unknown = Asked(Topic.ROOM_CREATED, starts), Asked(Topic.USER_CREATED, {})
    handlers = {Topic.ROOM_CREATED: known, Topic.USER_CREATED: unknown}
    consumer = EventConsumer(settings.KAFKA_BOOTSTRAP_SERVERS, handlers=handlers, group=f"test-{uuid4()}")
    retry = consumer._retry_stalls

    def counted() -> None:
        before = len(asked)
        if known.ids:
            retry()
        retries.append(len(asked) - before)

    monkeypatch.setattr(consumer, "_retry_stalls", counted)
    with ThreadPoolExecutor() as pool:
        produce(Topic.ROOM_CREATED, deletion(1))
        running = pool.submit(consumer.run)
        wait_for(lambda: known.ids == [1] and sum(retries) >= 3, "three retries")
        consumer.stop()
        running.result(PATIENCE)
    assert len(ends(Topic.USER_CREATED)) > 1
    assert asked[: len(starts) + 1] == [Topic.ROOM_CREATED] * len(starts) + [Topic.USER_CREATED]
    assert max(retries) == 1 and len(asked) == len(starts) + 1 + sum(retries)


@pytest.mark.django_db(transaction=True)
def test_a_log_that_ends_before_what_is_stored_is_not_read_on_and_somebody_is_called(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A broker that loses power may lose what it had not written yet. What is said then gets offsets that are stored
    already: it would be left out in silence."""
    starts = ends(Topic.ROOM_CREATED)
    handler = ToyHandler({**starts, 0: starts[0] + 3})
    with running(Topic.ROOM_CREATED, handler) as consumer:
        wait_for(lambda: consumer.progress.stopped == 1, "the partition stands still")
        assert f"the log ends at {starts[0]}, and {starts[0] + 3} of them are stored" in str(
            consumer.progress.problem()
        )
        produce(Topic.ROOM_CREATED, *(deletion(n) for n in range(1, 6)))
        produce(Topic.ROOM_CREATED, deletion(101), partition=1)
        wait_for(lambda: handler.ids == [101], "the other partition")
        assert consumer.progress.stopped == 1
    assert handler.ids == [101]
    assert len([record for record in caplog.records if record.levelname == "CRITICAL"]) == 1


@pytest.mark.django_db(transaction=True)
def test_an_offset_that_somebody_else_has_moved_is_read_anew() -> None:
    """The batch is rolled back, and reading goes on behind what the other has stored."""
    starts = ends(Topic.ROOM_CREATED)
    for partition, offset in starts.items():
        ConsumedOffset.objects.create(topic=Topic.ROOM_CREATED, partition=partition, next_offset=offset)
    handler = StoringHandler()
    with running(Topic.ROOM_CREATED, handler):
        produce(Topic.ROOM_CREATED, deletion(1))
        wait_for(lambda: handler.ids == [1], "the first record")
        # Somebody else stores the next three, which this consumer has not read yet.
        with transaction.atomic():
            advance_offset(Topic.ROOM_CREATED, 0, starts[0] + 1, starts[0] + 4)
            # Before the commit, or the log might end before what is stored.
            produce(Topic.ROOM_CREATED, deletion(2), deletion(3), deletion(4), deletion(5))
        wait_for(lambda: 5 in handler.ids, "the record behind")
        # A failed-over database has lost what was stored last.
        ConsumedOffset.objects.filter(topic=Topic.ROOM_CREATED, partition=0).update(next_offset=starts[0] + 3)
        produce(Topic.ROOM_CREATED, deletion(6))
        wait_for(lambda: 6 in handler.ids, "the record after the failover")
    assert handler.ids == [1, 5, 4, 5, 6]


@pytest.mark.django_db(transaction=True)
def test_advance_offset_fits_once() -> None:
    """The first to store decides where to begin; afterwards only who knows the offset may move it."""
    with pytest.raises(OffsetConflict, match="is not stored up to 5"):
        advance_offset("topic", 0, 5, 8)  # what was stored is gone: another log has begun
    advance_offset("topic", 0, 0, 8)
    advance_offset("topic", 0, 8, 9)
    for expected in (0, 5, 8, 10):
        with pytest.raises(OffsetConflict, match=rf"topic\[0\] is not stored up to {expected}"):
            advance_offset("topic", 0, expected, 20)
    assert ConsumedOffset.objects.get().next_offset == 9


def test_stopping_commits_and_the_next_one_goes_on() -> None:
    """Handlers without an offset of their own lose nothing and repeat nothing across an orderly restart."""
    group, starts = f"test-{uuid4()}", ends(Topic.ROOM_CREATED)
    first, second = ToyHandler(starts), ToyHandler()
    with running(Topic.ROOM_CREATED, first, group=group):
        for partition in starts:
            produce(Topic.ROOM_CREATED, deletion(1), partition=partition)
        wait_for(lambda: len(first.ids) == len(starts), "a record of each partition")
    produce(Topic.ROOM_CREATED, deletion(2), deletion(3))
    with running(Topic.ROOM_CREATED, second, group=group):
        wait_for(lambda: len(second.ids) == 2, "the rest")
    assert second.ids == [2, 3]


def test_of_two_with_one_name_the_older_ends() -> None:
    """It says so, instead of waiting for records that never come."""
    group, starts = f"test-{uuid4()}", ends(Topic.ROOM_CREATED)
    older = EventConsumer(
        settings.KAFKA_BOOTSTRAP_SERVERS, handlers={Topic.ROOM_CREATED: ToyHandler(starts)}, group=group,
        instance_id="one",
    )  # fmt: skip
    with ThreadPoolExecutor(1) as pool:
        life = pool.submit(older.run)
        wait_for(lambda: len(older.progress.places) == 3, "all partitions")
        with running(Topic.ROOM_CREATED, ToyHandler(starts), group=group, instance_id="one") as double:
            wait_for(lambda: len(double.progress.places) == 3, "all partitions")
            with pytest.raises(KafkaException, match="fenced by other consumer"):
                life.result(PATIENCE)


def test_a_named_process_that_comes_back_goes_on_and_the_others_notice_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While it is away, and not for longer than a session, nobody else takes its partitions."""
    monkeypatch.setattr("events.consumer.SESSION", 30.0)
    group, starts = f"test-{uuid4()}", ends(Topic.ROOM_CREATED)
    with running(Topic.ROOM_CREATED, ToyHandler(starts), group=group, instance_id="other") as other:
        with running(Topic.ROOM_CREATED, ToyHandler(starts), group=group, instance_id="one") as one:
            wait_for(lambda: has_settled(group, members=2, partitions=len(starts)), "a settled group")
            wait_for(lambda: len(one.progress.places) + len(other.progress.places) == len(starts), "all partitions")
            own, foreign = set(one.progress.places), set(other.progress.places)
        with running(Topic.ROOM_CREATED, ToyHandler(starts), group=group, instance_id="one") as again:
            wait_for(lambda: set(again.progress.places) == own, "its partitions")
            assert set(other.progress.places) == foreign


def has_settled(group: str, *, members: int, partitions: int) -> bool:
    """Whether no rebalance is under way, nor to follow: one does while a partition is on its way to another member."""
    admin = AdminClient({"bootstrap.servers": settings.KAFKA_BOOTSTRAP_SERVERS})
    described = admin.describe_consumer_groups([group])[group].result(PATIENCE)
    assigned = [len(member.assignment.topic_partitions) for member in described.members]
    return described.state.name == "STABLE" and len(assigned) == members and sum(assigned) == partitions


@pytest.mark.django_db(transaction=True)
def test_two_share_the_partitions_and_one_takes_over() -> None:
    """Every record is stored by exactly one of them, also when one leaves in the middle."""
    group, starts = f"test-{uuid4()}", ends(Topic.ROOM_CREATED)
    for partition, offset in starts.items():
        ConsumedOffset.objects.create(topic=Topic.ROOM_CREATED, partition=partition, next_offset=offset)
    first, second = StoringHandler(), StoringHandler()
    with running(Topic.ROOM_CREATED, second, group=group):
        with running(Topic.ROOM_CREATED, first, group=group):
            for id in range(1, 31):
                produce(Topic.ROOM_CREATED, deletion(id), partition=id % len(starts))
            wait_for(lambda: len(first.ids + second.ids) >= 20, "most of the records")
        for id in range(31, 61):
            produce(Topic.ROOM_CREATED, deletion(id), partition=id % len(starts))
        wait_for(lambda: len(first.ids + second.ids) >= 60, "all records")
    assert sorted(first.ids + second.ids) == list(range(1, 61))


@pytest.mark.django_db(transaction=True)
def test_a_waiting_partition_that_went_and_came_back_goes_on() -> None:
    """It waited when another process took it, and waits there for the same service, which then is back."""
    group, starts, mended = f"test-{uuid4()}", ends(Topic.ROOM_CREATED), Event()
    for partition, offset in starts.items():
        ConsumedOffset.objects.create(topic=Topic.ROOM_CREATED, partition=partition, next_offset=offset)

    class Waiting(StoringHandler):
        def store(self, records: Sequence[ReceivedRecord]) -> None:
            waits.add(records[0].partition)
            if not mended.is_set():
                raise OperationalError("gone")
            super().store(records)

    waits, handler = set[int](), Waiting()
    with running(Topic.ROOM_CREATED, handler, group=group) as consumer:
        for partition in starts:
            produce(Topic.ROOM_CREATED, deletion(partition + 1), partition=partition)
        wait_for(lambda: len(waits) == len(starts), "all partitions wait")
        with running(Topic.ROOM_CREATED, Waiting(), group=group) as other:
            wait_for(lambda: other.progress.places, "a partition goes")
        wait_for(lambda: len(consumer.progress.places) == len(starts), "it comes back")
        mended.set()
        wait_for(lambda: len(handler.ids) == len(starts), "all records")
    assert sorted(handler.ids) == [partition + 1 for partition in starts]

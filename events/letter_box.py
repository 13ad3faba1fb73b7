"""Reading the dead-letter topic, and deciding about its letters: replay or drop. Serves the command and the admin.

A letter stays on the topic until its retention; what is written down is the decision, by whom and when. A letter
without one is open.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from django.db import transaction

from events.dead_letters import ORIGIN_HEADERS
from events.errors import LetterDecided, NoSuchLetter
from events.models import DeadLetterDecision
from events.producing import ConfirmingProducer, OutgoingRecord
from events.topics import TOPICS, Topic

# The newest letters of the topic that a list looks at.
REACH = 10_000
TIMEOUT = 10.0  # seconds without anything new from Kafka

Action = DeadLetterDecision.Action


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that was set aside, as it was, with the reason. `offset` is its place on the dead-letter topic."""

    offset: int
    time: datetime
    reason: str
    topic: str
    partition: str
    origin_offset: str
    key: bytes | None
    value: bytes
    headers: dict[str, bytes]
    decision: DeadLetterDecision | None

    @property
    def origin(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.origin_offset}"

    @property
    def text(self) -> str:
        """Its value, to look at."""
        return self.value.decode(errors="backslashreplace")

    @property
    def key_text(self) -> str:
        return "" if self.key is None else self.key.decode(errors="backslashreplace")


class LetterBox:
    """The letters on the topic of these brokers. Everything raises `KafkaException` when Kafka cannot be asked."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._bootstrap_servers = bootstrap_servers

    def newest(self, limit: int, *, decided: bool = False) -> list[DeadLetter]:
        """The newest letters, newest first, among the newest `REACH` of the topic; also those that are decided about
        if `decided`."""
        wanted: list[DeadLetter] = []
        for letter in self._read(REACH):
            if decided or letter.decision is None:
                wanted = [*wanted[-limit + 1 :], letter] if limit > 1 else [letter]
        return wanted[::-1]

    def find(self, offset: int) -> DeadLetter:
        """Raises `NoSuchLetter`."""
        for letter in self._read(1, start=offset):
            if letter.offset == offset:
                return letter
        raise NoSuchLetter(f"There is no dead letter {offset} (any more).")

    def replay(self, offset: int, *, by: str) -> DeadLetterDecision:
        """Put the record on its topic again, with its key, value and headers; it comes behind what is there now.

        A crash in between leaves the letter open, and then it may be replayed twice: what handles records drops
        repeats. Raises `NoSuchLetter` and `LetterDecided`.
        """
        letter = self.find(offset)
        if letter.topic not in TOPICS:
            raise NoSuchLetter(f"The dead letter {offset} does not say which topic it is from.")
        with transaction.atomic():
            decision = _decide(letter, Action.REPLAYED, by)
            largest = TOPICS[letter.topic].max_message_bytes
            settings = {"message.max.bytes": largest}
            producer = ConfirmingProducer(self._bootstrap_servers, client_id="dead-letter-replay", **settings)
            producer.produce(letter.topic, [OutgoingRecord(letter.key, letter.value, letter.headers)])
        return decision

    def drop(self, offset: int, *, by: str) -> DeadLetterDecision:
        """Note that nothing is to be done. Raises `NoSuchLetter` and `LetterDecided`."""
        letter = self.find(offset)
        with transaction.atomic():
            return _decide(letter, Action.DROPPED, by)

    def _read(self, count: int, *, start: int | None = None) -> Iterator[DeadLetter]:
        """The letters from `start` on, or the newest ones, oldest first; at most `count`."""
        consumer = Consumer(
            {
                "bootstrap.servers": self._bootstrap_servers,
                # Never joined: the partition is assigned by hand, and nothing is committed.
                "group.id": "dead-letter-box",
                "enable.auto.commit": False,
            }
        )
        try:
            low, high = consumer.get_watermark_offsets(TopicPartition(Topic.DEAD_LETTER, 0), TIMEOUT)
            first = max(low, high - count) if start is None else max(low, start)
            last = min(high, first + count)
            decisions = DeadLetterDecision.objects.filter(offset__gte=first, offset__lt=last)
            known = {(each.offset, each.letter_time): each for each in decisions}
            for message in _messages(consumer, first, last):
                yield _letter(message, known)
        finally:
            consumer.close()


def rename_decider_step(old: str, new: str) -> None:
    """Somebody who decided is erased."""
    DeadLetterDecision.objects.filter(by=old).update(by=new)


def _messages(consumer: Consumer, first: int, last: int) -> Iterator[Message]:
    """The records of the topic from `first` up to `last`, without it."""
    if first >= last:
        return
    consumer.assign([TopicPartition(Topic.DEAD_LETTER, 0, first)])
    patient_until = monotonic() + TIMEOUT
    while monotonic() < patient_until:
        message = consumer.poll(0.1)
        if message is None:
            continue
        if (error := message.error()) is not None:
            if not error.retriable():
                raise KafkaException(error)
            continue
        patient_until = monotonic() + TIMEOUT
        yield message
        if (message.offset() or 0) >= last - 1:
            return
    raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "The dead letters were not read in time."))


def _letter(message: Any, known: dict[tuple[int, datetime], DeadLetterDecision]) -> DeadLetter:
    headers: dict[str, bytes] = {name: value or b"" for name, value in message.headers() or ()}
    origin = {name: headers.pop(name, b"").decode(errors="replace") for name in ORIGIN_HEADERS}
    offset = message.offset()
    time = datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)
    return DeadLetter(
        offset=offset, time=time, reason=origin["reason"], topic=origin["topic"], partition=origin["partition"],
        origin_offset=origin["offset"], key=message.key(), value=message.value() or b"", headers=headers,
        decision=known.get((offset, time)),
    )  # fmt: skip


def _decide(letter: DeadLetter, action: Action, by: str) -> DeadLetterDecision:
    """Within a transaction: the second of two who decide at once waits for the first one, and then is told."""
    decision, is_first = DeadLetterDecision.objects.get_or_create(
        offset=letter.offset,
        letter_time=letter.time,
        defaults={"action": action, "by": by, "origin": letter.origin, "reason": letter.reason},
    )
    if not is_first:
        raise LetterDecided(f"The dead letter {letter.offset} was {decision.action} by {decision.by} already.")
    return decision

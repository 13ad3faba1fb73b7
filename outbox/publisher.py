"""Producing outbox rows to Kafka, and telling what became of each."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from uuid import UUID

import orjson
from confluent_kafka import KafkaError, KafkaException, Producer
from pydantic import ValidationError

from events.envelope import Envelope, InvalidRecord, explain, time_text
from events.topics import TOPICS
from outbox.rows import Row

logger = logging.getLogger(__name__)

# Kafka has looked at this very record and will never take it as it is. Everything else is Kafka's own trouble.
REFUSALS = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_TIMESTAMP,
        KafkaError._BAD_MSG,
        KafkaError._INVALID_ARG,
    }
)
# Given up by `close`, after the time was over.
PURGED = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a row was not acknowledged. `refused`: because of the row itself."""

    reason: str
    refused: bool


class Publisher:
    """Produces rows and waits for the reports.

    A version is produced only after the one before it was acknowledged. With several of an aggregate in flight, a
    failed one could be overtaken by the next, and readers would then drop the earlier one when it comes at last.
    """

    def __init__(
        self, bootstrap_servers: str, *, timeout: float = 5.0, config: Mapping[str, object] | None = None
    ) -> None:
        self._timeout = timeout
        self._config = {
            "bootstrap.servers": bootstrap_servers,
            "client.id": "outbox-poller",
            "enable.idempotence": True,
            "acks": "all",
            # The same partition for a key as everywhere else in the project and in Java.
            "partitioner": "murmur2_random",
            "linger.ms": 1,
            # None: the bound is `flush`, after which everything that is still on its way is purged together.
            "message.timeout.ms": 0,
            "request.timeout.ms": int(timeout * 1000),
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 1000,
            "socket.keepalive.enable": True,
            # A line for each attempt to connect would bury the log; the rows say what is wrong.
            "log_level": 2,
            # A fatal error is raised by librdkafka's wrapper all the same; see `_flush`.
            "error_cb": self._note_error,
            **(config or {}),
        }
        self._producer: Producer | None = None
        # What librdkafka said last about its connections, to explain a silence.
        self._last_error = ""

    def publish(self, rows: Sequence[Row], *, epoch: int) -> dict[UUID, Trouble | None]:
        """What became of the rows: None means acknowledged by all in-sync replicas; a row that is not named was not
        tried, because one before it failed or the time was over.

        `rows` has the versions of an aggregate in their order. Returns within little more than the time-out.
        """
        fate: dict[UUID, Trouble | None] = {}
        failed: set[tuple[str, str]] = set()
        end = monotonic() + self._timeout
        for wave in _waves(rows):
            ready = [row for row in wave if row.aggregate not in failed]
            self._send(ready, epoch, fate, end)
            failed.update(row.aggregate for row in ready if fate[row.id] is not None)
            if monotonic() >= end:
                break
        return fate

    def close(self) -> None:
        """Let go of the producer; what it still holds is unsent and will be produced again."""
        if self._producer is not None:
            self._producer.purge()
            self._flush(self._producer, 1.0)
            self._producer = None

    def _send(self, rows: Sequence[Row], epoch: int, fate: dict[UUID, Trouble | None], end: float) -> None:
        """Send rows of different aggregates together."""
        if self._producer is None:
            self._producer = Producer(self._config, logger=logger)
        for row in rows:
            self._produce(self._producer, row, epoch, fate)
        answered = self._flush(self._producer, max(0.0, end - monotonic()))
        if not answered:
            # Neither a late record nor a late report may come into a later round.
            self.close()
        for row in rows:
            fate.setdefault(row.id, self._unanswered())
        refused = [row for row in rows if (trouble := fate[row.id]) is not None and trouble.refused]
        if answered and len(rows) > 1:
            # A broker refuses a whole batch for one bad record: only who is refused alone is to blame.
            for row in refused:
                self._send([row], epoch, fate, end)

    def _flush(self, producer: Producer, timeout: float) -> bool:
        """Wait for the reports; whether all have come."""
        try:
            return bool(producer.flush(timeout) == 0)
        except (KafkaException, SystemError) as error:
            # A fatal error is raised out of the reports, some of which are lost then.
            logger.error("The producer has failed and is made anew: %s", error)
            return False

    def _produce(self, producer: Producer, row: Row, epoch: int, fate: dict[UUID, Trouble | None]) -> None:
        def note(error: KafkaError | None, _: object) -> None:
            fate[row.id] = None if error is None else self._trouble(error)

        fate.pop(row.id, None)
        try:
            producer.produce(
                row.topic,
                key=row.key,
                value=_encode(row),
                headers=_headers(row, epoch),
                on_delivery=note,
            )
        except BufferError:
            fate[row.id] = Trouble("The producer's queue is full.", refused=False)
        except KafkaException as error:
            fate[row.id] = self._trouble(error.args[0])
        except InvalidRecord as error:
            fate[row.id] = Trouble(str(error), refused=True)

    def _trouble(self, error: KafkaError) -> Trouble:
        if error.code() in PURGED:
            return self._unanswered()
        return Trouble(f"{error.name()}: {error.str()}", refused=error.code() in REFUSALS)

    def _unanswered(self) -> Trouble:
        return Trouble(f"Kafka has not answered in time. {self._last_error}".rstrip(), refused=False)

    def _note_error(self, error: KafkaError) -> None:
        self._last_error = str(error.str())


def _waves(rows: Sequence[Row]) -> list[list[Row]]:
    """The first of each aggregate, then the second of each, and so on."""
    waves: list[list[Row]] = []
    places: Counter[tuple[str, str]] = Counter()
    for row in rows:
        place = places[row.aggregate]
        places[row.aggregate] += 1
        if place == len(waves):
            waves.append([])
        waves[place].append(row)
    return waves


def _encode(row: Row) -> bytes:
    """Raises `InvalidRecord` for a row that is no event as this version knows them. `record_event` lets none of that
    in, but somebody's SQL may."""
    if row.topic not in TOPICS:
        raise InvalidRecord("There is no such topic.")
    try:
        return Envelope(
            id=str(row.id),
            type=row.type,
            subject=row.subject,
            time=time_text(row.created_at),
            version=row.version,
            data=orjson.loads(row.payload),
        ).encode()
    except ValidationError as error:
        raise InvalidRecord(explain(error)) from None
    except (ValueError, TypeError) as error:
        # Numbers that are too large, and what is nested too deeply.
        raise InvalidRecord(f"The payload cannot be written as JSON: {type(error).__name__}.") from None


def _headers(row: Row, epoch: int) -> dict[str, str | bytes | None]:
    return {
        "id": str(row.id).encode(),
        "type": row.type.encode(),
        "version": str(row.version).encode(),
        "epoch": str(epoch).encode(),
    }

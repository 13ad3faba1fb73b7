"""Producing outbox rows to Kafka, and telling what became of each."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from uuid import UUID

from confluent_kafka import KafkaError, KafkaException, Producer

from events.envelope import Envelope, time_text
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


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a row was not acknowledged. `refused`: because of the row itself."""

    reason: str
    refused: bool


UNKNOWN = Trouble("Kafka has not answered in time.", refused=False)


class Publisher:
    """Produces rows in order and waits for the reports.

    Rows of one partition arrive in their order and without a gap: when one of them fails, those behind it fail as well
    (`enable.gapless.guarantee`), else a version would overtake an earlier one, and readers would drop the latter when
    it comes at last. That ends the producer; it is made anew after every trouble.
    """

    def __init__(
        self, bootstrap_servers: str, *, timeout: float = 5.0, config: Mapping[str, object] | None = None
    ) -> None:
        self._timeout = timeout
        self._config = {
            "bootstrap.servers": bootstrap_servers,
            "client.id": "outbox-poller",
            "enable.idempotence": True,
            "enable.gapless.guarantee": True,
            "acks": "all",
            # The same partition for a key as everywhere else in the project and in Java.
            "partitioner": "murmur2_random",
            "linger.ms": 1,
            # Infinite: a time-out of one record is the one failure that would let the next ones pass it. The bound
            # is `flush` below, after which everything is purged at once.
            "message.timeout.ms": 0,
            "request.timeout.ms": int(timeout * 1000),
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 1000,
            "socket.keepalive.enable": True,
            # The warning that the guarantee of no gaps is "experimental" is known.
            "log_level": 3,
            **(config or {}),
        }
        self._producer: Producer | None = None

    def publish(self, rows: Sequence[Row], *, epoch: int) -> dict[UUID, Trouble | None]:
        """What became of each row: None means acknowledged by all in-sync replicas.

        Returns within little more than the time-out. Rows refused before go one by one, since a broker refuses a whole
        batch for one bad record.
        """
        fate: dict[UUID, Trouble | None] = {}
        self._send([row for row in rows if not row.attempts], epoch, fate)
        # An aggregate is on one side only: a run is never mixed (see `rows.read_unsent`).
        end = monotonic() + self._timeout
        for row in rows:
            if row.attempts and monotonic() < end:
                self._send([row], epoch, fate)
        return fate

    def close(self) -> None:
        """Let go of the producer; what it still holds is unsent and will be produced again."""
        if self._producer is not None:
            self._producer.purge()
            self._producer.flush(1.0)
            self._producer = None

    def _send(self, rows: Sequence[Row], epoch: int, fate: dict[UUID, Trouble | None]) -> None:
        if not rows:
            return
        if self._producer is None:
            self._producer = Producer(self._config, logger=logger)
        producer = self._producer
        stopped: set[tuple[str, str]] = set()
        for row in rows:
            if row.aggregate not in stopped and not self._produce(producer, row, epoch, fate):
                stopped.add(row.aggregate)
        producer.flush(self._timeout)
        if any(fate.get(row.id, UNKNOWN) for row in rows):
            # Neither a late report nor a late record may come into the next round.
            self.close()
            for row in rows:
                if row.aggregate not in stopped:
                    fate.setdefault(row.id, UNKNOWN)

    def _produce(self, producer: Producer, row: Row, epoch: int, fate: dict[UUID, Trouble | None]) -> bool:
        def note(error: KafkaError | None, _: object) -> None:
            fate[row.id] = None if error is None else _trouble(error)

        try:
            producer.produce(
                row.topic,
                key=row.key,
                value=_envelope(row).encode(),
                headers=_headers(row, epoch),
                on_delivery=note,
            )
        except BufferError:
            fate[row.id] = Trouble("The producer's queue is full.", refused=False)
        except KafkaException as error:
            fate[row.id] = _trouble(error.args[0])
        except ValueError as error:
            # The row is no event as this version knows them; `record_event` lets none of that in.
            fate[row.id] = Trouble(str(error), refused=True)
        else:
            return True
        return False


def _envelope(row: Row) -> Envelope:
    return Envelope(
        id=str(row.id),
        type=row.type,
        subject=row.subject,
        time=time_text(row.created_at),
        version=row.version,
        data=row.payload,
    )


def _headers(row: Row, epoch: int) -> dict[str, bytes]:
    return {
        "id": str(row.id).encode(),
        "type": row.type.encode(),
        "version": str(row.version).encode(),
        "epoch": str(epoch).encode(),
    }


def _trouble(error: KafkaError) -> Trouble:
    return Trouble(f"{error.name()}: {error.str()}", refused=error.code() in REFUSALS)

"""Draining the outbox: committed rows to Kafka, each at least once, the versions of an aggregate in their order."""

import logging
import random
from collections.abc import Mapping, Sequence
from datetime import timedelta
from math import nan
from threading import Event
from time import monotonic
from uuid import UUID

from django.db import Error, connection

from outbox import metrics
from outbox.lease import Lease, lease_age
from outbox.publisher import Publisher, Trouble
from outbox.rows import Failure, Fenced, Row, mark_failed, mark_sent, measure_pending, purge_settled, read_unsent
from outbox.wakeups import Wakeups

logger = logging.getLogger(__name__)

FIRST_WAIT, LAST_WAIT = 0.05, 1.0  # seconds without a call
MAX_BACKOFF = 60.0  # seconds, of a refused row
MAX_OUTAGE_BACKOFF = 2.0  # seconds, while Kafka is away
MEASURE_INTERVAL = 5.0  # seconds
PATIENCE = 30.0  # seconds; every round ends sooner, also while services are away
PURGE_INTERVAL = 60.0  # seconds, after a purge that found no more


class OutboxPoller:
    """One of any number of candidates; the one that holds the lease works, the others wait.

    `run()` returns after `stop()`, which may be called from a signal handler and from any thread: the batch in hand is
    finished and the lease is given back. It recovers from the loss of PostgreSQL, Redis and Kafka by itself.
    """

    def __init__(
        self,
        *,
        lease: Lease,
        publisher: Publisher,
        wakeups: Wakeups,
        batch: int = 500,
        max_attempts: int = 10,
        retention: timedelta = timedelta(days=7),
    ) -> None:
        if batch < 1 or max_attempts < 1:
            raise ValueError("batch and max_attempts count rows and attempts: both must be at least 1.")
        self._lease = lease
        self._publisher = publisher
        self._wakeups = wakeups
        self._batch = batch
        self._max_attempts = max_attempts
        self._retention = retention
        self._stopping = Event()
        # Rounds in a row in which Kafka acknowledged nothing.
        self._outages = 0
        self._turned_at = monotonic()  # when the latest round began
        self._next_measure = self._next_purge = 0.0  # monotonic seconds

    def stop(self) -> None:
        self._stopping.set()
        self._wakeups.wake()

    def leads(self) -> bool:
        """Whether this is the one that works. Usable from any thread."""
        return self._lease.held

    def problem(self) -> str | None:
        """What is wrong with this process, in one line; None: it works or stands by. Usable from any thread. Rows that
        wait although it works are told by the metrics."""
        return "The loop hangs." if monotonic() - self._turned_at > PATIENCE else None

    def run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._turned_at = monotonic()
                self._try_to_lead()
                if not self._stopping.is_set():
                    # Candidates ask once a second, not all at the same moment.
                    self._wakeups.wait(LAST_WAIT * random.uniform(0.8, 1.0))  # noqa: S311 (jitter, no secret)
        finally:
            self._publisher.close()
            self._wakeups.close()
            connection.close()

    def _try_to_lead(self) -> None:
        try:
            metrics.LEASE_AGE.set(lease_age())
            if self._lease.acquire():
                self._lead()
        except Error as error:
            metrics.LEASE_AGE.set(nan)
            logger.warning("PostgreSQL is in trouble, starting anew as a candidate: %s", error)
            connection.close()
        except Fenced:
            logger.error("Fenced: epoch %d may mark nothing any more.", self._lease.epoch)
        finally:
            # Another one measures from now on.
            for gauge in (metrics.LEADING, metrics.PENDING, metrics.DEAD_NOW, metrics.OLDEST):
                gauge.set(0)
            self._lease.release()

    def _lead(self) -> None:
        metrics.LEADING.set(self._lease.epoch)
        wait = FIRST_WAIT
        while self._lease.held and not self._stopping.is_set():
            self._turned_at = monotonic()
            handled = self._drain_batch()
            self._keep_house()
            if self._outages:
                self._wait_out_outage()
            elif handled == self._batch:
                continue
            elif self._wakeups.wait(wait) or handled:
                wait = FIRST_WAIT
            else:
                wait = min(wait * 2, LAST_WAIT)

    def _drain_batch(self) -> int:
        """Produce one batch and write down what became of it; how many rows it had."""
        rows = read_unsent(self._batch)
        if rows and self._lease.held:
            fate = self._publisher.publish(rows, epoch=self._lease.epoch)
            self._settle(rows, fate)
        return len(rows)

    def _settle(self, rows: Sequence[Row], fate: Mapping[UUID, Trouble | None]) -> None:
        sent = [row for row in rows if row.id in fate and fate[row.id] is None]
        failures = [self._failure(row, trouble) for row in rows if (trouble := fate.get(row.id)) is not None]
        self._outages = 0 if sent or any(failure.attempts for failure in failures) else self._outages + bool(failures)
        try:
            if sent:
                self._mark_sent(sent)
            if failures:
                mark_failed(failures, epoch=self._lease.epoch, holder=self._lease.holder)
        except Fenced:
            metrics.FENCED.labels("mark").inc(len(sent) + len(failures))
            raise
        metrics.DEAD.inc(sum(failure.dead for failure in failures))
        _log(rows, failures)

    def _mark_sent(self, sent: Sequence[Row]) -> None:
        for age in mark_sent([row.id for row in sent], epoch=self._lease.epoch, holder=self._lease.holder):
            metrics.PUBLISH.observe(age)

    def _failure(self, row: Row, trouble: Trouble) -> Failure:
        """A refusal counts as an attempt; an outage does not, else it would make dead letters of everything."""
        if not trouble.refused:
            return Failure(row.id, row.attempts, trouble.reason, _jittered(MAX_OUTAGE_BACKOFF / 2), dead=False)
        attempts = row.attempts + 1
        wait = _jittered(min(MAX_BACKOFF, 0.5 * 2**attempts))
        return Failure(row.id, attempts, trouble.reason, wait, dead=attempts >= self._max_attempts)

    def _wait_out_outage(self) -> None:
        """Commits call in vain while Kafka is away: only `stop` and the lease's loss end this wait."""
        self._stopping.wait(_jittered(min(MAX_OUTAGE_BACKOFF, 0.1 * 2 ** min(self._outages, 10))))

    def _keep_house(self) -> None:
        now = monotonic()
        if now >= self._next_measure:
            pending, dead, oldest = measure_pending()
            metrics.PENDING.set(pending)
            metrics.DEAD_NOW.set(dead)
            metrics.OLDEST.set(oldest)
            metrics.LEASE_AGE.set(lease_age())
            self._next_measure = now + MEASURE_INTERVAL
        if now >= self._next_purge:
            purged = purge_settled(older_than=self._retention, limit=self._batch)
            # One batch a round, so that sending never waits for a long deletion.
            self._next_purge = now if purged == self._batch else now + PURGE_INTERVAL


def _jittered(seconds: float) -> float:
    return random.uniform(seconds / 2, seconds)  # noqa: S311 (jitter, no secret)


def _log(rows: Sequence[Row], failures: Sequence[Failure]) -> None:
    by_id = {row.id: row for row in rows}
    for failure in failures:
        row = by_id[failure.id]
        name = f"{row.type} {row.subject} version {row.version}"
        if failure.dead:
            logger.error("%s is a dead letter after %d attempts: %s", name, failure.attempts, failure.error)
        elif failure.attempts > row.attempts:
            logger.warning("%s was refused (attempt %d): %s", name, failure.attempts, failure.error)
    waiting = [failure for failure in failures if failure.attempts == by_id[failure.id].attempts]
    if waiting:
        logger.warning("%d rows wait for Kafka: %s", len(waiting), waiting[0].error)

"""The audit that goes on beside the poller."""

import logging
from collections.abc import Callable
from datetime import timedelta
from threading import Event, Thread

from confluent_kafka import KafkaException
from django.db import Error, connection

from outbox import metrics
from outbox.audit import ERRORS, Audit, Findings, Kind, Stopped, database_now, oldest_pending

logger = logging.getLogger(__name__)

REACH = timedelta(minutes=10)  # what was created before this process led is judged too, and all that is not sent yet
CLOSING_TIME = 2.0  # seconds that `close` waits for a question to a service that is under way


class Auditor:
    """Audits what is new every `interval` seconds, while `leads` says that this process drains the outbox.

    It has a thread, a Kafka consumer and a database connection of its own, and waits for services without the poller.
    The first audit is an interval after the start, so that the metrics were seen at zero before something is found.
    `start()` and `close()` are a pair; closing twice is fine.
    """

    def __init__(
        self, bootstrap_servers: str, *, leads: Callable[[], bool], retention: timedelta, interval: float = 60.0
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._leads = leads
        self._retention = retention
        self._interval = interval
        # None: this process does not lead, or has only begun to.
        self._audit: Audit | None = None
        self._closing = Event()
        self._thread = Thread(target=self._run, name="outbox-auditor", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._thread.join(CLOSING_TIME)

    def _run(self) -> None:
        while not self._closing.wait(self._interval):
            if not self._leads():
                self._audit = None
                continue
            try:
                self._audit_what_is_new()
            except (KafkaException, Error) as error:
                logger.warning("The outbox was not audited, which is tried again in %g s: %s", self._interval, error)
            except Stopped:
                break
            except Exception:
                # Whatever it is, the next audit is not given up for it; the time of the last complete one tells.
                logger.exception("The audit of the outbox failed.")
            finally:
                connection.close()

    def _audit_what_is_new(self) -> None:
        until = database_now()
        if self._audit is None:
            self._audit = Audit(
                self._bootstrap_servers,
                since=min(until - REACH, oldest_pending() or until),
                retention=self._retention,
                is_stopping=self._closing.is_set,
            )
        findings = Findings()
        try:
            self._audit.advance(until, findings)
        finally:
            _tell(findings)
        metrics.AUDITED.set_to_current_time()


def _tell(findings: Findings) -> None:
    metrics.AUDIT_MISSING.inc(findings.total(Kind.MISSING))
    metrics.AUDIT_UNEXPECTED.inc(findings.total(Kind.UNEXPECTED))
    metrics.AUDIT_DISORDERED.inc(findings.total(Kind.OUT_OF_ORDER))
    metrics.AUDIT_GAPS.inc(findings.total(Kind.BEHIND_GAP))
    metrics.AUDIT_REPEATED.inc(findings.total(Kind.REPEATED))
    for kind in ERRORS:
        for offender in findings.offenders[kind]:
            logger.error("The audit of the outbox found an event that is %s: %s", kind, offender)

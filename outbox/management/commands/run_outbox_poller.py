"""Publish the outbox to Kafka. Any number may run: one works, the others stand by."""

import logging
import os
import signal
import socket
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg
from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.db import connection
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from events.probe import serve_probe
from outbox import metrics
from outbox.auditor import Auditor
from outbox.lease import Lease
from outbox.management.options import count, positive
from outbox.poller import OutboxPoller
from outbox.publisher import Publisher
from outbox.services import CHANNEL
from outbox.wakeups import Wakeups

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--lease-seconds", type=positive, default=10.0, help="others take over after so long a silence"
        )
        parser.add_argument("--batch", type=count, default=500, help="rows produced together")
        parser.add_argument("--max-attempts", type=count, default=10, help="refusals after which a row is dead")
        parser.add_argument(
            "--retention-days", type=positive, default=7.0, help="sent rows are deleted after so many days"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        retention = timedelta(days=options["retention_days"])
        poller = build_poller(
            lease_seconds=options["lease_seconds"],
            batch=options["batch"],
            max_attempts=options["max_attempts"],
            retention=retention,
        )
        auditor = Auditor(settings.KAFKA_BOOTSTRAP_SERVERS, leads=poller.leads, retention=retention)
        if settings.METRICS_PORT:
            serve_probe(settings.METRICS_PORT, host=settings.METRICS_HOST, problem=poller.problem)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: poller.stop())
        auditor.start()
        try:
            poller.run()
        finally:
            auditor.close()
        logger.info("The poller has stopped.")


def build_poller(*, lease_seconds: float, batch: int, max_attempts: int, retention: timedelta) -> OutboxPoller:
    """A poller over the services named in the settings."""
    wakeups = Wakeups(_connect, channel=CHANNEL)
    lease = Lease(
        # One try and a deadline: when Redis is away the lease row alone decides, and quickly.
        Redis.from_url(settings.REDIS_URL, **settings.REDIS_OPTIONS, retry=Retry(NoBackoff(), 0)),
        holder=f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}",
        life=lease_seconds,
        channel=CHANNEL,
        on_lost=wakeups.wake,
        on_fenced=metrics.FENCED.labels("renewal").inc,
    )
    return OutboxPoller(
        lease=lease,
        publisher=Publisher(settings.KAFKA_BOOTSTRAP_SERVERS, timeout=min(5.0, lease_seconds / 2)),
        wakeups=wakeups,
        batch=batch,
        max_attempts=max_attempts,
        retention=retention,
    )


def _connect() -> "psycopg.Connection[Any]":
    """A connection of its own for LISTEN: not from the pool, and in no transaction."""
    return psycopg.connect(**connection.get_connection_params(), autocommit=True)

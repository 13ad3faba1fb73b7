"""Compare the committed rows of the outbox with what is in Kafka, by the minute in which they were recorded.

Exit status: 0 all is well; 1 something is missing, unexpected, out of order or behind a gap (a row between two others
of an aggregate was deleted); 2 PostgreSQL or Kafka cannot be asked.
The clocks of PostgreSQL and of the brokers may differ by up to 60 seconds.
"""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from confluent_kafka import KafkaException
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error
from django.db.models import Count, Q
from django.db.models.functions import TruncMinute

from outbox.audit import ERRORS, STEP, Audit, Findings, Kind, database_now
from outbox.management.options import positive
from outbox.models import DISCARDED, PENDING, OutboxEvent

COLUMNS = ("committed", "sent", "pending", "discarded", *Kind)

Counts = Counter[str]


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--minutes",
            type=positive,
            default=60.0,
            help="how far to look back; not further than rows are kept, which the poller purges after --retention-days",
        )
        parser.add_argument(
            "--retention-days",
            type=positive,
            default=7.0,
            help="after which the poller deletes sent rows",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        window, retention = timedelta(minutes=options["minutes"]), timedelta(days=options["retention_days"])
        # Rows must not be purged while this looks for them.
        if not timedelta(0) < window <= retention - STEP:
            longest = (retention - STEP) / timedelta(minutes=1)
            raise CommandError(
                f"--minutes must be above 0 and at most {longest:g}: older rows are purged.", returncode=2
            )
        try:
            minutes, findings = audit(window, retention)
        except Error as error:
            raise CommandError(f"PostgreSQL cannot be asked: {error}", returncode=2) from error
        except KafkaException as error:
            raise CommandError(
                f"Kafka at {settings.KAFKA_BOOTSTRAP_SERVERS} cannot be asked: {error}", returncode=2
            ) from error
        self._report(minutes, findings)
        if wrong := [f"{findings.total(kind)} {kind}" for kind in ERRORS if findings.total(kind)]:
            raise CommandError(f"The outbox and Kafka do not agree: {', '.join(wrong)}.", returncode=1)

    def _report(self, minutes: dict[datetime, Counts], findings: Findings) -> None:
        self._line("minute (UTC)", COLUMNS)
        for minute, counts in sorted(minutes.items()):
            self._line(f"{minute:%Y-%m-%d %H:%M}", [counts[column] for column in COLUMNS])
        total = sum(minutes.values(), Counter())
        self._line("sum", [total[column] for column in COLUMNS])
        for kind in ERRORS:
            for offender in findings.offenders[kind]:
                self.stdout.write(f"{kind}: {offender}")
            if more := findings.total(kind) - len(findings.offenders[kind]):
                self.stdout.write(f"{kind}: and {more} more")

    def _line(self, title: str, cells: Any) -> None:
        widths = [max(len(column), 9) for column in COLUMNS]
        shown = "  ".join(f"{cell!s:>{width}}" for cell, width in zip(cells, widths, strict=True))
        self.stdout.write(f"{title:<16}  {shown}")


def audit(window: timedelta, retention: timedelta) -> tuple[dict[datetime, Counts], Findings]:
    """The counts of each minute in which there was something, by column."""
    until = database_now()
    since = (until - window).replace(second=0, microsecond=0)
    findings = Findings()
    Audit(settings.KAFKA_BOOTSTRAP_SERVERS, since=since, retention=retention).advance(until, findings)
    minutes = _committed(since, until)
    for (minute, kind), count in findings.counts.items():
        minutes.setdefault(minute, Counter())[kind] = count
    for counts in minutes.values():
        accounted = counts[Kind.READ_BACK] + counts[Kind.MISSING] + counts[Kind.PAST_RETENTION] + counts["discarded"]
        counts["pending"] = max(0, counts["committed"] - accounted)
    return minutes, findings


def _committed(since: datetime, until: datetime) -> dict[datetime, Counts]:
    # A row was marked after it was created. Said so, indexes answer.
    rows = OutboxEvent.objects.filter(PENDING | DISCARDED | Q(sent_at__gte=since), created_at__range=(since, until))
    counted = (
        rows.values(minute=TruncMinute("created_at", tzinfo=UTC))
        .annotate(
            committed=Count("id"),
            sent=Count("id", filter=Q(sent_at__lte=until)),
            discarded=Count("id", filter=DISCARDED),
        )
        .values_list("minute", "committed", "sent", "discarded")
    )
    return {
        minute: Counter(committed=committed, sent=sent, discarded=discarded)
        for minute, committed, sent, discarded in counted
    }

"""Pollers as real processes: paused, killed and stopped."""

import os
import random
import signal
import urllib.request
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from threading import Event
from time import monotonic
from urllib.parse import urlsplit

import pytest
from django.db import Error, connection
from django.db.models import Min
from django.utils import timezone

from devstack import DevStack
from devstack.state import SERVICES
from outbox.audit import database_now
from outbox.lease import LOCK_NAME
from outbox.models import OutboxEvent, OutboxLease
from tests.acceptance.processes import Process, free_port, wait_for
from tests.integration.outbox_support import (
    Flow,
    all_sent,
    assert_audit_clean,
    assert_whole,
    commit_events,
    committed,
    make_redis,
    reading,
    thing_table,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]

Start = Callable[..., Process]
# `make soak` has more.
KILLS = int(os.environ.get("KILLS", "5"))


@pytest.fixture
def start(transactional_db: None, tmp_path: Path) -> Iterator[Start]:
    """Starts a poller process by name; without a command of its own it is `run_outbox_poller`."""
    make_redis().delete(LOCK_NAME)
    url = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{connection.settings_dict['NAME']}").geturl()
    processes: list[Process] = []

    def start(name: str, *command: str) -> Process:
        command = command or ("-m", "django", "run_outbox_poller", "--lease-seconds", "2")
        process = Process(*command, name=name, environment={"DATABASE_URL": url}, folder=tmp_path)
        processes.append(process.start())
        return process

    with thing_table():
        yield start
        for process in processes:
            process.kill()


def first_mark_after(moment: datetime) -> datetime | None:
    """None, too, while the database does not answer."""
    try:
        first: datetime | None = OutboxEvent.objects.filter(sent_at__gt=moment).aggregate(first=Min("sent_at"))["first"]
    except Error:
        connection.close()
        return None
    return first


def count_sent() -> int:
    return OutboxEvent.objects.exclude(sent_at=None).count()


def all_unsent() -> bool:
    return count_sent() == 0


def holder_is_new(epoch: int) -> bool:
    lease = OutboxLease.objects.filter(id=1).first()
    return lease is not None and lease.epoch > epoch and lease.holder != ""


def fenced_marks(port: int) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
        lines = response.read().decode().splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith('chat_outbox_fenced_total{write="mark"}'))


def test_a_holder_that_slept_past_its_lease_is_fenced_and_counted(start: Start) -> None:
    """Stopped between producing and marking, and woken after another took over: it marks nothing, counts the rows, and
    readers see each event once."""
    events = commit_events(5, things=10)
    port = free_port()
    with reading() as reader:
        sleeper = start("sleeper", "-m", "tests.acceptance.halting_poller", "2", str(port), "acknowledged", "SIGSTOP")
        reader.read_all({event.id for event in events})
        assert not OutboxEvent.objects.exclude(sent_at=None).exists()
        epoch = OutboxLease.objects.get().epoch
        # Whose own lease does not lapse on a machine that is busy.
        start("other", "-m", "django", "run_outbox_poller", "--lease-seconds", "30")
        wait_for(lambda: holder_is_new(epoch), "the take-over")
        wait_for(all_sent, "the marks of the other one")
        sleeper.signal(signal.SIGCONT)
        wait_for(lambda: fenced_marks(port) > 0, "the rejected mark")
        events += commit_events(2, things=5)
        reader.read_all({event.id for event in events})
        wait_for(all_sent, "the marks after the fence")
        reader.read_to_end()
    assert fenced_marks(port) == 50
    assert set(OutboxEvent.objects.values_list("epoch", flat=True)) == {epoch + 1}
    assert len(reader.records) == len(events) + 50, "The sleeper's batch was produced twice."
    assert_whole(reader.versions_seen(), events)
    sleeper.stop()


@pytest.mark.parametrize("point", ["read", "produced", "acknowledged"])
def test_a_holder_killed_in_the_middle_of_a_batch_costs_nothing(start: Start, point: str) -> None:
    """At each point between reading rows and marking them: the next one sends what is not marked."""
    events = commit_events(5, things=10)
    with reading() as reader:
        dying = start("dying", "-m", "tests.acceptance.halting_poller", "2", str(free_port()), point, "SIGKILL")
        wait_for(dying.has_ended, "the kill")
        assert all_unsent(), "It was to die before it marks."
        # Whose publishing does not time out on a machine that is busy, which would repeat more.
        start("other", "-m", "django", "run_outbox_poller", "--lease-seconds", "30")
        reader.read_all({event.id for event in events})
        wait_for(all_sent, "the marks")
        reader.read_to_end()
    assert_whole(reader.versions_seen(), events)
    repeats = len(reader.records) - len(events)
    assert repeats == {"read": 0, "acknowledged": 50}.get(point, repeats)


@pytest.mark.timeout(300 + 15 * KILLS)
def test_pollers_killed_at_random_moments_of_a_flow_lose_nothing_and_invent_nothing(start: Start) -> None:
    """5,000 rows flow, some transactions are rolled back, and whoever holds the lease dies again and again."""
    seed = random.randrange(10**6)
    print(f"seed {seed}, {KILLS} kills")
    chance = random.Random(seed)
    since = database_now()
    with reading() as reader:
        holder = start("poller-0")
        with Flow() as flow:
            for number in range(1, KILLS + 1):
                sent = count_sent()
                wait_for(lambda sent=sent: count_sent() > sent, "marks")
                Event().wait(chance.uniform(0, 1))
                holder.kill()
                holder = start(f"poller-{number}")
            wait_for(lambda: len(flow.acknowledged) >= 5_000, "5,000 rows", deadline=180)
        events = committed()
        reader.read_all({event.id for event in events})
        wait_for(all_sent, "the marks")
        reader.read_to_end()
    published = {envelope.id for envelope, _ in reader.records}
    assert published == {str(event.id) for event in events}, "Something was published without a commit."
    assert_whole(reader.versions_seen(), events)
    assert_audit_clean(since)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_that_is_away_in_the_middle_of_a_flow_costs_nothing(
    start: Start, stack: DevStack, service: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """For ten seconds; then the poller goes on by itself."""
    since = database_now()
    with reading() as reader:
        start("poller")
        with Flow():
            wait_for(lambda: count_sent() > 50, "a flow")
            stack.stop(service)
            gone = timezone.now()
            Event().wait(10)
            if service == "redis":
                assert first_mark_after(gone), "Nothing waits for Redis."
            stack.start(service)
            back = timezone.now()
            wait_for(lambda: first_mark_after(back), "marks again")
            first = first_mark_after(back)
        events = committed()
        reader.read_all({event.id for event in events})
        wait_for(all_sent, "the marks")
        reader.read_to_end()
    assert first is not None
    with capsys.disabled():
        print(
            f"\n{service} away for 10 s: rows are marked again {(first - back).total_seconds():.1f} s after its return"
        )
    assert {envelope.id for envelope, _ in reader.records} == {str(event.id) for event in events}
    assert_whole(reader.versions_seen(), events)
    assert_audit_clean(since)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_lost_holder_is_replaced_without_loss(start: Start, number: signal.Signals) -> None:
    """Killed or frozen at whatever moment of a flow of events: the one that stands by goes on."""
    holder = start("holder")
    wait_for(lambda: holder_is_new(0), "a holder")
    epoch = OutboxLease.objects.get().epoch
    start("other")
    with reading() as reader:
        events = commit_events(10, things=20)
        holder.signal(number)
        events += commit_events(10, things=20)
        reader.read_all({event.id for event in events})
        wait_for(lambda: holder_is_new(epoch), "the take-over")
        if number == signal.SIGSTOP:
            holder.signal(signal.SIGCONT)
        events += commit_events(2, things=5)
        reader.read_all({event.id for event in events})
        wait_for(all_sent, "the marks")
    assert_whole(reader.versions_seen(), events)


def test_a_stopped_holder_hands_over_at_once(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    """SIGTERM gives both halves of the lease back and calls the one that stands by."""
    holder = start("holder")
    wait_for(lambda: holder_is_new(0), "a holder")
    epoch = OutboxLease.objects.get().epoch
    other = start("other", "-m", "django", "run_outbox_poller", "--lease-seconds", "60")
    wait_for(lambda: "LISTEN" in listening(), "the candidate listening")
    began = monotonic()
    holder.signal(signal.SIGTERM)
    wait_for(lambda: holder_is_new(epoch), "the take-over", deadline=10)
    with capsys.disabled():
        print(f"\nSIGTERM → next holder: {(monotonic() - began) * 1000:.0f} ms")
    holder.stop()
    other.stop()
    assert "The poller has stopped." in holder.output() and "Traceback" not in holder.output() + other.output()
    assert OutboxLease.objects.get().holder == ""


def listening() -> str:
    """The last statements of the listening connections, of which there are two when both processes are up."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), string_agg(query, ';') FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE 'LISTEN%'"
        )
        count, queries = cursor.fetchone()
    return str(queries) if count >= 2 else ""

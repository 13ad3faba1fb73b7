"""PostgreSQL's primary dies and its standby is promoted: nothing acknowledged is lost, and all goes on by itself."""

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import socket
from threading import Event

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from chatproject.settings import read_database_url
from devstack import DevStack
from outbox.audit import database_now
from outbox.lease import LOCK_NAME
from tests.acceptance.chat import Chat, call, create_room
from tests.acceptance.client import ChatClient
from tests.acceptance.processes import Process, wait_for
from tests.acceptance.replicated import ReplicatedPostgres
from tests.acceptance.test_outbox_processes import count_sent, first_mark_after
from tests.integration.outbox_support import (
    Flow,
    all_sent,
    assert_audit_clean,
    assert_whole,
    committed,
    make_redis,
    reading,
    thing_table,
)
from tests.stack import FOLDER

# Two databases are made, one of them twice, and whole services for the chat.
pytestmark = pytest.mark.timeout(300)
OUTAGE = 5.0  # seconds without a primary


@pytest.fixture
def database() -> Iterator[ReplicatedPostgres]:
    """Not in pytest's folder, which each new pytest closes to other users, such as PostgreSQL's."""
    folder = FOLDER.with_name(f"{FOLDER.name}-replicated")
    shutil.rmtree(folder, ignore_errors=True)
    with ReplicatedPostgres(folder) as database:
        yield database
    shutil.rmtree(folder)


@contextmanager
def default_database(url: str, blocker: DjangoDbBlocker) -> Iterator[None]:
    """Django's database is this one meanwhile, in all threads of this process."""
    own = dict(connection.settings_dict)
    with blocker.unblock():
        connection.close()
        connection.close_pool()
        connection.settings_dict.update(read_database_url(url))
        try:
            yield
        finally:
            connection.close()
            connection.close_pool()
            connection.settings_dict.update(own)


def test_the_poller_follows_a_failover_and_no_acknowledged_row_is_lost(
    stack: DevStack,
    database: ReplicatedPostgres,
    tmp_path: Path,
    django_db_blocker: DjangoDbBlocker,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In the middle of a flow: every row whose commit was acknowledged reaches Kafka, none without a commit, the
    versions in order."""
    url = database.url("primary", "standby")
    make_redis().delete(LOCK_NAME)
    poller = Process(
        "-m", "django", "run_outbox_poller", name="poller", environment={"DATABASE_URL": url}, folder=tmp_path
    )
    with default_database(url, django_db_blocker):
        call_command("migrate", verbosity=0)
        with thing_table(), reading() as reader:
            since = database_now()
            poller.start()
            try:
                with Flow() as flow:
                    wait_for(lambda: count_sent() > 50, "a flow")
                    database.kill_primary()
                    before = len(flow.acknowledged)
                    Event().wait(OUTAGE)
                    database.promote_standby()
                    promoted = timezone.now()
                    wait_for(lambda: first_mark_after(promoted), "marks again")
                    wait_for(lambda: len(flow.acknowledged) > before + 500, "a flow again")
                events = committed()
                reader.read_all({event.id for event in events})
                wait_for(all_sent, "the marks")
            finally:
                poller.stop()
            reader.read_to_end()
            first = first_mark_after(promoted)
            assert first is not None
            assert set(flow.acknowledged) <= {event.id for event in events}, "An acknowledged commit is lost."
            assert {envelope.id for envelope, _ in reader.records} == {str(event.id) for event in events}
            assert_whole(reader.versions_seen(), events)
            assert_audit_clean(since)
    with capsys.disabled():
        print(
            f"\nPostgreSQL's standby promoted {OUTAGE:g} s after the kill: rows are marked again"
            f" {(first - promoted).total_seconds():.1f} s later; {len(events)} rows, {before} of them before the kill"
        )
    assert "holds the outbox with epoch 1" in poller.output() and "Traceback" not in poller.output()


def test_a_host_that_is_silent_does_not_keep_the_next_one_from_being_asked(
    stack: DevStack, django_db_blocker: DjangoDbBlocker
) -> None:
    """It takes connections and says nothing, as behind a broken network: already the first query is answered."""
    url = stack.addresses()["DATABASE_URL"]
    with socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = url.replace("@", f"@127.0.0.1:{silent.getsockname()[1]},")
        with default_database(url, django_db_blocker), connection.cursor() as cursor:
            cursor.execute("SELECT 1")


async def test_the_chat_follows_a_failover(database: ReplicatedPostgres, tmp_path: Path) -> None:
    """Web process, event consumer and poller: what was said before and what is said afterwards is stored, and a new
    name is told. The standby is named first: who is asked first may be the one that cannot be written to."""
    with DevStack(tmp_path / "services", services=("redis", "kafka")) as services:
        environment = {
            **services.addresses(),
            "DATABASE_URL": database.url("standby", "primary"),
            "SECRET_KEY": services.state.secret_key,
            "CHAT_EMBEDDED": "1",
        }
        chat = Chat(environment, tmp_path)
        chat.manage("migrate", "--verbosity", "0")
        chat.manage("create_topics")
        web = chat.web()
        chat.poller()
        chat.event_consumer()
        try:
            (token,) = chat.tokens(1).values()
            room = create_room(web.url, token)
            async with ChatClient(web.url, token) as client:
                await client.subscribe(room)
                await client.say(room, "before")
                await asyncio.to_thread(wait_for, lambda: chat.stored(room) == ["before"], "the message is stored")
                database.kill_primary()
                await client.say(room, "meanwhile")
                await asyncio.to_thread(wait_for, lambda: not web.is_ready(), "the web process says so")
                await asyncio.to_thread(database.promote_standby)
                await asyncio.to_thread(wait_for, web.is_ready, "the web process is ready again")
                await client.say(room, "after")
                call(web.url, token, "PATCH", f"/rooms/{room}", {"name": "A new name"})
                await client.until(lambda client: "renamed" in [f.get("event") for f in client.frames])
                stored = ["before", "meanwhile", "after"]
                await asyncio.to_thread(wait_for, lambda: chat.stored(room) == stored, "all is stored")
        finally:
            chat.close()

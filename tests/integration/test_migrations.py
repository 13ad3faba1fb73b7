"""Upgrading a database that holds messages."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from messaging.models import Message
from rooms.services import create_room
from tests.integration.history_support import fill_room
from tests.integration.people_support import make_person

pytestmark = pytest.mark.django_db(transaction=True)

INDEXES = {
    "message_room_changes", "message_notice_user", "message_notice_by", "message_deleted_by", "message_words",
}  # fmt: skip


def migrate(to: str | None = None) -> None:
    call_command("migrate", "messaging", *([to] if to else []), verbosity=0)


def ask(sql: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return [row[0] for row in cursor.fetchall()]


def valid_indexes() -> set[str]:
    return INDEXES.intersection(
        ask("SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indisvalid")
    )


@pytest.fixture
def _old_table() -> Iterator[None]:
    """A table with rows, as it was before the indexes; what the test leaves is brought to the newest state."""
    fill_room(create_room(owner=make_person("alice"), name="Room", kind="public"), 3)
    migrate("0006_search")
    yield
    migrate()


@pytest.mark.usefixtures("_old_table")
def test_the_indexes_are_built_without_a_time_limit_which_holds_again_afterwards() -> None:
    """A large table takes longer than any question may."""
    limits = []

    def note(execute: Any, sql: Any, *rest: Any) -> Any:
        if str(sql).startswith("CREATE INDEX CONCURRENTLY"):
            limits.extend(ask("SHOW statement_timeout") + ask("SHOW lock_timeout"))
        return execute(sql, *rest)

    assert not valid_indexes()
    with connection.execute_wrapper(note):
        migrate()
    assert limits == ["0"] * 2 * len(INDEXES)
    assert ask("SHOW statement_timeout") + ask("SHOW lock_timeout") == ["10s", "5s"]
    assert valid_indexes() == INDEXES and Message.objects.count() == 3


@pytest.mark.usefixtures("_old_table")
def test_a_migration_that_was_killed_is_simply_run_again() -> None:
    """Although an invalid index stands there under the name."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE INDEX message_words ON messaging_message USING gin (words)")
        cursor.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'message_words'::regclass")
    migrate()
    assert valid_indexes() == INDEXES

"""Import this before the models: benchmarks meet a real PostgreSQL and Redis of their own, in `.data/benchmark`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import django

from devstack import DevStack

STACK = DevStack(Path(__file__).resolve().parents[1] / ".data" / "benchmark", services=("postgres", "redis"))

os.environ.update({**DevStack(STACK.folder).addresses(), "SECRET_KEY": STACK.state.secret_key, "CHAT_EMBEDDED": "1"})
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatproject.settings")
django.setup()


@contextmanager
def own_database() -> Iterator[None]:
    """The chat's tables, empty; dropped at the end."""
    from django.db import connection

    with STACK:
        name = str(connection.settings_dict["NAME"])
        connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
        try:
            yield
        finally:
            connection.creation.destroy_test_db(name, verbosity=0)

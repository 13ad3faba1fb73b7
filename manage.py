#!/usr/bin/env python
"""Django's command line. Services that the environment does not name are the embedded ones (see devstack/)."""

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from devstack import DevStack, StackError

ROOT = Path(__file__).resolve().parent
VARIABLES = {"DATABASE_URL": "postgres", "REDIS_URL": "redis", "KAFKA_BOOTSTRAP_SERVERS": "kafka"}
# Commands that touch no service; for them nothing is started.
OFFLINE = frozenset({"check", "collectstatic", "diffsettings", "findstatic", "help", "makemigrations", "version"})


def main(arguments: Sequence[str]) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatproject.settings")
    command = arguments[1] if len(arguments) > 1 else "help"
    with ExitStack() as life:
        missing = [service for variable, service in VARIABLES.items() if variable not in os.environ]
        if missing:
            use_embedded(life, missing, start=command not in OFFLINE and "--help" not in arguments)
        from django.core.management import execute_from_command_line

        execute_from_command_line(list(arguments))


def use_embedded(life: ExitStack, services: Sequence[str], *, start: bool) -> None:
    """Point the environment at the embedded services, and keep them running until `life` ends."""
    stack = DevStack(Path(os.environ.get("CHAT_DATA_DIR", ROOT / ".data")), services=services)
    os.environ.update(stack.addresses())
    os.environ.setdefault("SECRET_KEY", stack.state.secret_key)
    os.environ.setdefault("CHAT_EMBEDDED", "1")
    if start:
        life.enter_context(stack)


if __name__ == "__main__":
    try:
        main(sys.argv)
    except StackError as error:
        sys.exit(str(error))

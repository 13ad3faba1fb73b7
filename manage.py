#!/usr/bin/env python
"""Django's command line. Services that the environment does not name are the embedded ones (see devstack/)."""

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from devstack import VARIABLES, DevStack, StackError

ROOT = Path(__file__).resolve().parent
# Commands that touch no service; for them nothing is started.
OFFLINE = frozenset(
    {"check", "collectstatic", "compilemessages", "diffsettings", "findstatic", "help", "makemessages",
     "makemigrations", "startapp", "startproject", "version"}
)  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatproject.settings")
    with ExitStack() as life:
        missing = [service for service, variable in VARIABLES.items() if variable not in os.environ]
        if missing:
            use_embedded(life, missing, start=needs_services(arguments[1:]))
        from django.core.management import execute_from_command_line

        execute_from_command_line(list(arguments))


def needs_services(arguments: Sequence[str]) -> bool:
    """Whether a command line needs running services. Without a command, or asked for help, Django only explains."""
    command = arguments[0] if arguments else "help"
    explains = command.startswith("-") or {"-h", "--help"} & set(arguments)
    return not explains and command not in OFFLINE


def use_embedded(life: ExitStack, services: Sequence[str], *, start: bool) -> None:
    """Point the environment at the embedded services, and keep them running until `life` ends."""
    stack = DevStack(Path(os.environ.get("CHAT_DATA_DIR") or ROOT / ".data"), services=services)
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
    except KeyboardInterrupt:
        sys.exit(130)

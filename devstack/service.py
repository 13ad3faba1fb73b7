"""One embedded service: what to prepare, what to run, how to see that it serves."""

import os
import signal
import subprocess
from functools import partial
from pathlib import Path
from socket import create_connection
from typing import Protocol

from devstack.errors import StackError
from devstack.tied import die_with_parent


class Service(Protocol):
    """`name` as in `state.SERVICES`; `stop_signal` ends it cleanly; `user` runs it (None: whoever starts it)."""

    name: str
    version: str
    port: int
    stop_signal: signal.Signals
    user: str | None

    def prepare(self) -> None:
        """Make the data on the first start. Raises `StackError`."""

    def command(self) -> list[str]: ...

    def is_ready(self) -> bool:
        """Whether it serves now."""


def spawn(service: Service, log: Path) -> subprocess.Popen[bytes]:
    """Start a service as a child that dies with its parent, also when the parent is killed with -9."""
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 (our own command lines)
            service.command(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            user=service.user,
            group=service.user,
            extra_groups=[] if service.user else None,
            start_new_session=True,
            preexec_fn=partial(die_with_parent, signal.SIGKILL),
        )


def run(command: list[str], *, user: str | None = None, what: str) -> str:
    """Run a step of a preparation to its end; raise `StackError` with its words when it fails."""
    result = subprocess.run(  # noqa: S603 (our own command lines)
        command, capture_output=True, text=True, timeout=120, check=False, user=user, group=user,
        extra_groups=[] if user else None, cwd="/",
    )  # fmt: skip
    if result.returncode != 0:
        raise StackError(f"{what} failed: {(result.stderr or result.stdout).strip()[-600:]}")
    return result.stdout


def is_listening(port: int) -> bool:
    try:
        with create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def require_space(folder: Path, megabytes: int) -> None:
    """Raise `StackError` when less than this is free, before half-written data say it less clearly."""
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize // 2**20
    if free < megabytes:
        raise StackError(
            f"{folder} has {free} MB of free space, and the services need {megabytes} MB. "
            "Free some, or set CHAT_DATA_DIR to a folder with more."
        )

"""One embedded service: what to prepare, what to run, how to see that it serves."""

import os
import signal
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from devstack.errors import StackError
from devstack.tied import die_with_parent


class Service(Protocol):
    """`name` as in `state.SERVICES`; `ports` it listens on; `stop_signal` ends it cleanly; `user` runs it (None:
    whoever starts it)."""

    name: str
    version: str
    ports: Sequence[int]
    stop_signal: signal.Signals
    user: str | None

    def prepare(self) -> None:
        """Make the data on the first start. Raises `StackError`."""

    def command(self) -> list[str]: ...

    def is_ready(self) -> bool:
        """Whether it serves now."""


def spawn(service: Service, folder: Path) -> subprocess.Popen[bytes]:
    """Start a service as a child that dies with its parent, also when the parent is killed with -9."""
    with (folder / f"{service.name}.log").open("ab") as output:
        return subprocess.Popen(  # noqa: S603 (our own command lines)
            service.command(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            user=service.user,
            group=service.user,
            extra_groups=[] if service.user else None,
            start_new_session=True,
            # It runs after the change of user, which would clear what it sets.
            preexec_fn=partial(die_with_parent, signal.SIGKILL),
        )


def run(command: list[str], *, what: str, user: str | None = None, cwd: Path | None = None) -> str:
    """Run a step of a preparation to its end; raise `StackError` with its words when it fails."""
    result = subprocess.run(  # noqa: S603 (our own command lines)
        command, capture_output=True, text=True, timeout=120, check=False, user=user, group=user,
        extra_groups=[] if user else None, cwd=cwd or "/",
    )  # fmt: skip
    if result.returncode != 0:
        raise StackError(f"{what} failed: {(result.stderr or result.stdout).strip()[-600:]}")
    return result.stdout


def require_space(folder: Path, megabytes: int) -> None:
    """Raise `StackError` when less than this is free, before half-written data say it less clearly."""
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize // 2**20
    if free < megabytes:
        raise StackError(
            f"{folder} has {free} MB of free space, and the services need {megabytes} MB. "
            "Free some, or set CHAT_DATA_DIR (XDG_CACHE_HOME for the cache) to a folder with more."
        )

"""The process that owns the services of a data folder: starts what is wanted, starts again what dies, and stops
everything when the last user has gone. Run as `python -m devstack.guardian FOLDER`."""

import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

from devstack.errors import StackError
from devstack.service import is_listening, require_space, spawn
from devstack.stack import DevStack

logger = logging.getLogger("devstack.guardian")

TICK = 0.1  # seconds
STOP_DEADLINE = 30.0  # seconds
MAX_RESTARTS = 5  # in a row, each within QUICK seconds of its start
QUICK = 10.0  # seconds
NEEDED_SPACE = 300  # MB


class Keeper:
    """One service of the guardian: prepared once, running while it is wanted."""

    def __init__(self, stack: DevStack, service: Any) -> None:
        self._stack = stack
        self.service = service
        self.process: subprocess.Popen[bytes] | None = None
        self.ready = False
        self._prepared = False
        self._restarts = 0
        # Monotonic time of the last start, and when the next one may be.
        self._started = 0.0
        self._start_after = 0.0

    def tick(self) -> None:
        """Bring the service to where it is wanted. Raises `StackError` when it cannot be kept running."""
        wanted = (self._stack.folder / f"want-{self.service.name}").exists()
        if self.process is not None and self.process.poll() is not None:
            self._note_death(self.process.returncode, wanted)
        if wanted and self.process is None and monotonic() >= self._start_after:
            self._start()
        elif not wanted and self.process is not None:
            self.stop()
        if self.process is not None and not self.ready:
            self.ready = bool(self.service.is_ready())

    def stop(self) -> None:
        """End the service cleanly, or after a while by force."""
        if self.process is None:
            return
        self.process.send_signal(self.service.stop_signal)
        try:
            self.process.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            logger.warning("%s does not stop; it is killed.", self.service.name)
            self.process.kill()
            self.process.wait()
        self.process, self.ready, self._restarts = None, False, 0

    def _start(self) -> None:
        folder, service = self._stack.folder, self.service
        if not self._prepared:
            self._stack.state.note_version(service.name, service.version, folder)
            require_space(folder, NEEDED_SPACE)
            service.prepare()
            self._prepared = True
        if is_listening(service.port):
            raise StackError(
                f"Port {service.port}, which {service.name} needs, is taken by another program. End that program, or "
                f"delete {folder} to start with empty data and new ports."
            )
        self.process = spawn(service, folder / f"{service.name}.log")
        self._started = monotonic()

    def _note_death(self, code: int, wanted: bool) -> None:
        logger.warning("%s ended with %s.", self.service.name, code)
        quick = monotonic() - self._started < QUICK
        self._restarts = self._restarts + 1 if quick else 0
        if wanted and self._restarts > MAX_RESTARTS:
            log = self._stack.folder / f"{self.service.name}.log"
            raise StackError(f"{self.service.name} does not stay up; its last words are in {log}.")
        self._start_after = monotonic() + 0.2 * 2**self._restarts
        self.process, self.ready = None, False


def main(folder: Path) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    stack = DevStack(folder)
    # For the life of this process; the kernel releases it.
    guardian_lock = (folder / "guardian.lock").open("w")
    if not _take(guardian_lock):
        return 0
    stopping = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    keepers = [Keeper(stack, service) for service in stack.make_services().values()]
    with (folder / "users.lock").open("w") as users:
        error = _guard(folder, keepers, users, stopping)
        for keeper in reversed(keepers):
            keeper.stop()
        for wanted in folder.glob("want-*"):
            wanted.unlink()
        _write_status(folder, [], error)
        # Before the users' lock: a user that comes now must find that there is no guardian any more.
        guardian_lock.close()
    return 1 if error else 0


def _take(guardian_lock: Any) -> bool:
    """Become the guardian, or find that there is one. A user that looks for one holds the lock for a moment only."""
    for _ in range(10):
        try:
            fcntl.flock(guardian_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            Event().wait(0.05)
        else:
            return True
    return False


def _guard(folder: Path, keepers: list[Keeper], users: Any, stopping: Event) -> str | None:
    """Keep the services until nobody uses them, or until one cannot be kept; returns why."""
    while not stopping.wait(TICK):
        try:
            for keeper in keepers:
                keeper.tick()
        except StackError as error:
            logger.error("%s", error)
            return str(error)
        _write_status(folder, keepers, None)
        if _nobody_uses(users):
            break
    return None


def _nobody_uses(users: Any) -> bool:
    """Whether no user is left; then the lock stays taken, so that a new one waits for the end of this guardian."""
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_status(folder: Path, keepers: list[Keeper], error: str | None) -> None:
    status = {
        "error": error,
        "ready": [keeper.service.name for keeper in keepers if keeper.ready],
        "pids": {keeper.service.name: keeper.process.pid for keeper in keepers if keeper.process is not None},
    }
    draft = folder / f"status.json.{os.getpid()}"
    draft.write_text(json.dumps(status))
    draft.replace(folder / "status.json")


if __name__ == "__main__":
    # Into the background: nobody waits for this process, and it is nobody's child that must be reaped.
    if os.fork() != 0:
        os._exit(0)
    sys.exit(main(Path(sys.argv[1])))

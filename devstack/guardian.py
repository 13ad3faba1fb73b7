"""The process that owns the services of a data folder: starts what is wanted, starts again what dies, and stops
everything when the last user has gone. Run as `python -m devstack.guardian FOLDER`."""

import fcntl
import json
import logging
import os
import signal
import sys
from pathlib import Path
from threading import Event
from typing import IO

from devstack.errors import StackError
from devstack.keeper import Keeper
from devstack.stack import DevStack

logger = logging.getLogger("devstack.guardian")

TICK = 0.1  # seconds


def start(folder: Path) -> int:
    """Become the guardian of a folder in the background; where there is one already, do nothing.

    When the process that was started has ended, the guardian lock is held. Whoever starts it holds the start lock
    until then, so nobody starts a second one or takes it for missing.
    """
    guardian_lock = (folder / "guardian.lock").open("w")
    try:
        fcntl.flock(guardian_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0
    # The lock belongs to both, and stays when the parent goes.
    if os.fork() != 0:
        os._exit(0)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    return Guardian(folder).run(guardian_lock)


class Guardian:
    """Keeps the services of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = DevStack(folder)
        self._stopping = Event()
        # The services that have been wanted so far, by name.
        self._keepers: dict[str, Keeper] = {}
        # What status.json says, to write it only when it changes.
        self._written = ""

    def run(self, guardian_lock: IO[str]) -> int:
        """Keep the services until nobody uses them or one cannot be kept; returns the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stopping.set())
        with (self._folder / "users.lock").open("w") as users:
            error = self._guard(users)
            # All at once: of the brokers of a cluster, one that is left alone cannot end cleanly.
            for keeper in self._keepers.values():
                keeper.ask_to_stop()
            for keeper in self._keepers.values():
                keeper.wait_for_stop()
            self._write_status(error)
            # Before the users' lock: a user that comes now must find that there is no guardian any more.
            guardian_lock.close()
        return 1 if error else 0

    def _guard(self, users: IO[str]) -> str | None:
        """Returns why the services could not be kept, or None."""
        try:
            while not self._stopping.wait(TICK):
                self._tick()
                if _nobody_uses(users):
                    break
        except StackError as error:
            logger.error("%s", error)
            return str(error)
        except Exception as error:
            # The last word to those who wait; without it they would wait in vain.
            logger.exception("The guardian failed.")
            return f"The services cannot be kept: {error!r}. {self._folder / 'guardian.log'} says where."
        return None

    def _tick(self) -> None:
        wanted = {path.name.removeprefix("want-") for path in self._folder.glob("want-*")}
        for name in sorted(wanted - self._keepers.keys()):
            self._keepers[name] = Keeper(self._folder, self._stack.state, self._stack.make_service(name))
        for name, keeper in self._keepers.items():
            keeper.tick(wanted=name in wanted)
        self._write_status(None)

    def _write_status(self, error: str | None) -> None:
        running = {name: keeper for name, keeper in self._keepers.items() if keeper.process is not None}
        status = {
            "error": error,
            "ready": [name for name, keeper in running.items() if keeper.ready],
            "pids": {name: keeper.process.pid for name, keeper in running.items() if keeper.process is not None},
        }
        if (text := json.dumps(status)) == self._written:
            return
        draft = self._folder / f"status.json.{os.getpid()}"
        draft.write_text(text)
        draft.replace(self._folder / "status.json")
        self._written = text


def _nobody_uses(users: IO[str]) -> bool:
    """Whether no user is left; then the lock stays taken, so that a new one waits for the end of this guardian."""
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(start(Path(sys.argv[1])))

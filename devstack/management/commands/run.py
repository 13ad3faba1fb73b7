"""Run the whole chat on this machine: migrations, topics, demo data, then all processes under a supervisor."""

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from argparse import ArgumentParser
from pathlib import Path
from socket import SO_REUSEADDR, SOL_SOCKET, socket
from threading import Event
from time import monotonic
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from devstack.tied import tied

ROOT = Path(__file__).resolve().parents[3]
READY_DEADLINE = 60.0  # seconds
STOP_DEADLINE = 40.0  # seconds

# Restarted whatever the reason and however often; the log of all goes to this terminal.
PROGRAM = """
[program:{name}]
command={command}
directory={root}
environment=CHAT_PROCESS="{name}",PYTHONUNBUFFERED="1"
autorestart=true
startsecs=1
startretries=1000000
stopwaitsecs=15
stopasgroup=false
killasgroup=true
redirect_stderr=true
stdout_logfile=/dev/fd/1
stdout_logfile_maxbytes=0
"""
SUPERVISOR = """
[supervisord]
nodaemon=true
user={user}
silent=true
logfile=/dev/null
logfile_maxbytes=0
pidfile={folder}/supervisord.pid
"""


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--port", type=int, default=8000, help="of the first web process; the next free one is taken"
        )
        parser.add_argument("--web", type=int, default=1, help="number of web processes")

    def handle(self, *args: Any, **options: Any) -> None:
        ports = self._choose_ports(options["port"], options["web"])
        call_command("migrate", verbosity=0)
        call_command("create_topics")
        call_command("seed_demo")
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder) / "supervisord.conf"
            config.write_text(_configuration(folder, ports))
            # A session of its own: Ctrl-C reaches this command alone, which then stops the supervisor in order.
            supervisor = subprocess.Popen(  # noqa: S603 (our own command line)
                tied(sys.executable, "-m", "supervisor.supervisord", "-c", str(config)), start_new_session=True
            )
            try:
                self._announce(supervisor, ports)
                _wait_for_signal(supervisor)
            finally:
                _stop(supervisor)

    def _choose_ports(self, first: int, count: int) -> list[int]:
        ports: list[int] = []
        candidate = first
        while len(ports) < count:
            if _is_free(candidate):
                ports.append(candidate)
            elif candidate == first:
                self.stdout.write(f"Port {first} is taken; the next free one is used.")
            candidate += 1
            if candidate > first + 1000:
                raise CommandError(f"No free port from {first} on. Choose others with --port.")
        return ports

    def _announce(self, supervisor: "subprocess.Popen[bytes]", ports: list[int]) -> None:
        """Print the addresses once the web processes can serve."""
        end, pause = monotonic() + READY_DEADLINE, Event()
        for port in ports:
            while not _is_ready(port):
                if supervisor.poll() is not None:
                    raise CommandError("The supervisor has ended; its words are above.")
                if monotonic() > end:
                    raise CommandError(f"The web process on port {port} is not ready; the log above says why.")
                pause.wait(0.2)
        addresses = "  ".join(f"http://127.0.0.1:{port}/" for port in ports)
        self.stdout.write(f"\nThe chat runs at {addresses}\nAdministration: http://127.0.0.1:{ports[0]}/admin/ — "
                          "Ctrl-C ends everything.\n")  # fmt: skip
        self.stdout.flush()


def _configuration(folder: str, ports: list[int]) -> str:
    python, manage = sys.executable, str(ROOT / "manage.py")
    commands = {
        f"web-{port}": [python, "-m", "daphne", "-b", "127.0.0.1", "-p", str(port), "chatproject.asgi:application"]
        for port in ports
    }
    commands |= {"poller": [python, manage, "run_outbox_poller"], "events": [python, manage, "run_event_consumer"]}
    programs = [
        PROGRAM.format(name=name, command=shlex.join(tied(*command)).replace("%", "%%"), root=ROOT)
        for name, command in commands.items()
    ]
    return SUPERVISOR.format(folder=folder, user=os.geteuid()) + "".join(programs)


def _is_free(port: int) -> bool:
    with socket() as probe:
        # As the server does it: an address that only waits for late packets is free.
        probe.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _wait_for_signal(supervisor: "subprocess.Popen[bytes]") -> None:
    """Return on Ctrl-C or SIGTERM, or when the supervisor has ended."""
    signalled = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: signalled.set())
    while not signalled.wait(0.5) and supervisor.poll() is None:
        pass


def _stop(supervisor: "subprocess.Popen[bytes]") -> None:
    """The supervisor stops its programs in order; one that hangs is killed by it."""
    supervisor.terminate()
    try:
        supervisor.wait(STOP_DEADLINE)
    except subprocess.TimeoutExpired:
        supervisor.kill()
        supervisor.wait()

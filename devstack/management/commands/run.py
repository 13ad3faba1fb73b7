"""Run the whole chat on this machine: migrations, topics, demo data, then all processes under a supervisor."""

import os
import shlex
import signal
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import IO, Any

from django.conf import settings
from django.core.management import call_command, get_commands
from django.core.management.base import BaseCommand, CommandError

from devstack.nginx import prepare_nginx
from devstack.ports import choose_ports, is_free
from devstack.servers import SERVERS, serve_command
from devstack.tied import tied
from devstack.urls import write_urls

ROOT = Path(__file__).resolve().parents[3]
READY_DEADLINE = 60.0  # seconds
STOP_DEADLINE = 40.0  # seconds

# Restarted whatever the reason and however often. Output goes to the supervisor's, a pipe that can always be opened.
PROGRAM = """
[program:{name}]
command={command}
directory={root}
environment={environment}
autorestart=true
startsecs=1
startretries=1000000
stopwaitsecs=15
priority={priority}
stopasgroup=false
killasgroup=true
redirect_stderr=true
stdout_logfile=/dev/fd/1
stdout_logfile_maxbytes=0
"""
SUPERVISOR = """
[supervisord]
nodaemon=true
{user}
logfile=/dev/null
logfile_maxbytes=0
pidfile={folder}/supervisord.pid
"""


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--port", type=_positive, default=8000, help="of the chat; when it is taken the next free one"
        )
        parser.add_argument(
            "--web", type=_positive, default=1, help="number of web processes; several stand behind nginx at the port"
        )
        parser.add_argument("--server", choices=SERVERS, default="daphne", help="of the web processes")

    def handle(self, *args: Any, **options: Any) -> None:
        # With one web process that is the door, else nginx, which stands before the others.
        several = options["web"] > 1
        door, *behind = self._choose_ports(options["port"], options["web"] + several)
        web_ports = behind or [door]
        call_command("migrate", verbosity=0)
        call_command("create_topics")
        if "seed_demo" in get_commands():
            call_command("seed_demo")
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder) / "supervisord.conf"
            nginx = prepare_nginx(Path(folder), port=door, web_ports=web_ports) if several else None
            config.write_text(_configuration(folder, door, web_ports, nginx, options["server"]))
            self._supervise(config, door, web_ports)

    def _supervise(self, config: Path, door: int, web_ports: list[int]) -> None:
        """Run the supervisor until Ctrl-C or SIGTERM. Raises `CommandError` when it ends by itself."""
        signalled = Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: signalled.set())
        command = tied(sys.executable, "-m", "supervisor.supervisord", "-c", str(config), number=signal.SIGTERM)
        # A session of its own: Ctrl-C reaches this command alone, which then stops the supervisor in order.
        supervisor = subprocess.Popen(  # noqa: S603 (our own command line)
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
        printer = Thread(target=self._print_log, args=(supervisor.stdout,), name="log", daemon=True)
        printer.start()
        try:
            self._announce(supervisor, door, web_ports, signalled)
            while not signalled.wait(0.5):
                if supervisor.poll() is not None:
                    raise CommandError(f"The supervisor has ended ({supervisor.returncode}), so everything ends.")
        finally:
            write_urls(settings.DATA_DIR, [])
            _stop(supervisor)
            printer.join(STOP_DEADLINE)

    def _print_log(self, output: IO[bytes] | None) -> None:
        for line in output or ():
            self.stdout.write(line.decode(errors="replace"), ending="")
            self.stdout.flush()

    def _choose_ports(self, first: int, count: int) -> list[int]:
        ports = [port for port in range(first, min(first + 1000, 65536)) if is_free(port)][:count]
        if len(ports) < count:
            raise CommandError(f"There are no {count} free ports from {first} on. Choose others with --port.")
        if ports[0] != first:
            self.stdout.write(f"Port {first} is taken, so {ports[0]} is used.")
        return ports

    def _announce(
        self, supervisor: "subprocess.Popen[bytes]", door: int, web_ports: list[int], signalled: Event
    ) -> None:
        """Print the address once the web processes can serve."""
        end = monotonic() + READY_DEADLINE
        for port in [*web_ports, door]:
            while not _is_ready(port):
                if signalled.wait(0.2) or supervisor.poll() is not None:
                    return
                if monotonic() > end:
                    raise CommandError(f"Port {port} does not serve; the log above says why.")
        url = f"http://127.0.0.1:{door}/"
        write_urls(settings.DATA_DIR, [url])
        self.stdout.write(f"\nThe chat runs at {url}\nAdministration: {url}admin/ - Ctrl-C ends everything.\n")
        self.stdout.flush()


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError("a number from 1 on is needed")
    return int(text)


def _configuration(folder: str, door: int, web_ports: list[int], nginx: list[str] | None, server: str) -> str:
    python, manage = sys.executable, str(ROOT / "manage.py")
    commands = {f"web-{port}": serve_command(server, port) for port in web_ports}
    # The name lets it go on at once after a restart. Two chats on one Kafka must not have the same.
    events = [python, manage, "run_event_consumer", "--instance-id", f"events-{door}"]
    commands |= {"poller": [python, manage, "run_outbox_poller"], "events": events}
    metrics = choose_ports(list(commands))
    # With nginx in front everybody would have its address.
    proxies = {"TRUSTED_PROXIES": "127.0.0.1"} if nginx is not None else {}
    # Killed with the supervisor: when that ends out of order, nobody is left to wait for them.
    programs = [
        _program(name, tied(*command, number=signal.SIGKILL), {"METRICS_PORT": str(metrics[name]), **proxies})
        for name, command in commands.items()
    ]
    if nginx is not None:
        # Its workers would outlive a master that is killed. Up before the others and down after them, it passes their
        # goodbyes on.
        programs.append(_program("nginx", tied(*nginx, number=signal.SIGTERM), {}, priority=1))
    # As root it warns unless it is told that this is meant; a user without a name cannot be told.
    user = "user=root" if os.geteuid() == 0 else ""
    return SUPERVISOR.format(folder=_escape(folder), user=user) + "".join(programs)


def _program(name: str, command: Sequence[str], environment: Mapping[str, str], *, priority: int = 999) -> str:
    environment = {"CHAT_PROCESS": name, "PYTHONUNBUFFERED": "1", **environment}
    return PROGRAM.format(
        name=name,
        command=_escape(shlex.join(command)),
        root=_escape(str(ROOT)),
        priority=priority,
        environment=",".join(f'{variable}="{value}"' for variable, value in environment.items()),
    )


def _escape(value: str) -> str:
    """For supervisord's configuration, which expands %(…)s."""
    return value.replace("%", "%%")


def _is_ready(port: int) -> bool:
    # Not through urllib, which would ask a proxy of the environment.
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except (HTTPException, OSError):
        return False
    finally:
        connection.close()


def _stop(supervisor: "subprocess.Popen[bytes]") -> None:
    """The supervisor stops its programs in order; one that hangs is killed by it."""
    supervisor.terminate()
    try:
        supervisor.wait(STOP_DEADLINE)
    except subprocess.TimeoutExpired:
        supervisor.kill()
        supervisor.wait()

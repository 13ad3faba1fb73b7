"""A PostgreSQL primary and a standby that has every commit before it is acknowledged."""

import secrets
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import psycopg

from devstack.ports import choose_ports
from devstack.postgres import DATABASE, USER, Postgres
from devstack.service import run, spawn
from devstack.state import State
from tests.acceptance.processes import wait_for


class Standby(Postgres):
    """A copy of the primary at `source`, which follows it."""

    def __init__(self, folder: Path, state: State, source: str) -> None:
        super().__init__(folder, state)
        self._source = source

    def promote(self) -> None:
        run([str(self._bin / "pg_ctl"), "promote", "-D", str(self._data)], user=self.user, what="Promoting")

    def _init(self) -> None:
        command = [str(self._bin / "pg_basebackup"), "-D", str(self._data), "-d", self._source]
        run([*command, "--write-recovery-conf", "--checkpoint=fast"], user=self.user, what="Copying the primary")


class ReplicatedPostgres:
    """`with ReplicatedPostgres(folder) as database:` both run. Nobody starts again what is killed."""

    def __init__(self, folder: Path) -> None:
        ports, password = choose_ports(["primary", "standby"]), secrets.token_urlsafe(24)
        self._folders = {name: folder / name for name in ports}
        states = {name: State(ports={"postgres": port}, password=password) for name, port in ports.items()}
        self.primary = Postgres(self._folders["primary"], states["primary"])
        self.standby = Standby(self._folders["standby"], states["standby"], self.primary.url)
        self._hosts = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
        self._login = f"postgresql://{USER}:{password}"
        self._life = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as life:
            self._primary_process = self._start("primary", life)
            self._start("standby", life)
            self._make_synchronous()
            self._life = life.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._life.close()

    def url(self, *order: str) -> str:
        """The address with both hosts, in this order."""
        return f"{self._login}@{','.join(self._hosts[name] for name in order)}/{DATABASE}"

    def kill_primary(self) -> None:
        self._primary_process.kill()
        self._primary_process.wait()

    def promote_standby(self) -> None:
        """Returns when it can be written to."""
        self.standby.promote()

    def _start(self, name: str, life: ExitStack) -> subprocess.Popen[bytes]:
        service, folder = getattr(self, name), self._folders[name]
        folder.mkdir(mode=0o711, parents=True)
        service.prepare()
        process = spawn(service, folder)
        life.callback(_stop, process)
        wait_for(service.is_ready, f"the {name} is ready; see {folder}")
        return process

    def _make_synchronous(self) -> None:
        with psycopg.connect(self.primary.url, autocommit=True) as primary:
            primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            primary.execute("SELECT pg_reload_conf()")
            states = "SELECT sync_state FROM pg_stat_replication"
            wait_for(lambda: primary.execute(states).fetchall() == [("sync",)], "the standby is synchronous")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGQUIT)
    process.wait(30)

"""A whole chat for acceptance tests: its own database and topics' records, and the processes a test asks for."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

from tests.acceptance.processes import ROOT, Process, Web, wait_for

MANAGE = str(ROOT / "manage.py")


class Chat:
    """Processes of one chat on one set of services; `close()` ends all that are left."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self.environment = dict(environment)
        self.folder = folder
        self._processes: list[Process] = []

    def web(self, name: str = "web", *, server: str = "daphne", environment: Mapping[str, str] | None = None) -> Web:
        """A web process that is ready."""
        web = Web(name=name, environment={**self.environment, **(environment or {})}, folder=self.folder, server=server)
        self._processes.append(web)
        return web.start()

    def command(self, name: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Process:
        """A management command that runs on, such as the poller."""
        process = Process(
            MANAGE, name, *arguments, name=f"{name}-{uuid4().hex[:4]}",
            environment={**self.environment, **(environment or {})}, folder=self.folder,
        )  # fmt: skip
        self._processes.append(process)
        return process.start()

    def poller(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Process:
        return self.command("run_outbox_poller", *arguments, environment=environment)

    def event_consumer(self) -> Process:
        return self.command("run_event_consumer")

    def manage(self, *arguments: str) -> str:
        """Run a management command to its end and return what it printed."""
        result = self.attempt(*arguments)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def attempt(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a management command that may fail."""
        return subprocess.run(
            [sys.executable, MANAGE, *arguments], cwd=ROOT, env={**os.environ, **self.environment},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def tokens(self, count: int = 2) -> dict[str, str]:
        """New people and their tokens."""
        prefix = f"p{uuid4().hex[:6]}-"
        file = self.folder / f"{prefix}tokens"
        self.manage("create_users", "--prefix", prefix, "--count", str(count), "--tokens-file", str(file))
        return dict(line.split() for line in file.read_text().splitlines())

    def query(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.environment["DATABASE_URL"]) as connection:
            return connection.execute(sql, parameters).fetchall()

    def stored(self, room: int) -> list[str]:
        """The texts of a room as they are stored, in the room's order."""
        sql = "SELECT text FROM messaging_message WHERE room_id = %s AND kind = 'message' ORDER BY epoch, \"offset\""
        return [text for (text,) in self.query(sql, room)]

    def wait_stored(self, room: int, texts: list[str]) -> None:
        wait_for(lambda: self.stored(room) == texts, f"room {room} holds {len(texts)} messages in order")

    def wait_storing(self, room: int, count: int = 1) -> None:
        """Storing goes on, and has come so far: servers wait only some seconds for it."""
        stored = "SELECT count(*) FROM messaging_message WHERE room_id = %s AND kind = 'message'"
        wait_for(lambda: self.query(stored, room)[0][0] >= count, f"room {room} holds {count} messages")

    def close(self) -> None:
        """End in order what is left, so that lease and group are free at once for the next test."""
        failures = []
        for process in self._processes:
            try:
                process.stop()
            except AssertionError as failure:
                failures.append(failure)
        if failures:
            raise ExceptionGroup("Processes did not stop", failures)


def call(url: str, token: str, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
    """A REST call with a token; returns the answer's JSON."""
    request = urllib.request.Request(
        f"{url}/api/v1{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        data = response.read()
    return json.loads(data) if data else None


def create_room(url: str, token: str, *, name: str | None = None, kind: str = "public") -> int:
    return int(call(url, token, "POST", "/rooms", {"name": name or f"Room {uuid4().hex[:6]}", "kind": kind})["id"])

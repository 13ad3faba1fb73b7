"""`manage.py run` as a person at a terminal meets it; three starts of the whole chat, with two web processes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from devstack import VARIABLES
from devstack.urls import read_urls
from tests.acceptance.processes import ROOT, free_port, wait_for


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Outside pytest's folders, which PostgreSQL's own user may not enter."""
    with TemporaryDirectory(prefix="chat-run-") as name:
        yield Path(name)


def start_run(folder: Path) -> "subprocess.Popen[bytes]":
    """The command with services of its own, once it has printed its address."""
    environment = {name: value for name, value in os.environ.items() if name not in {*VARIABLES.values(), "SECRET_KEY"}}
    log = folder / "run.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "run", "--web", "2", "--port", str(free_port())],
            cwd=ROOT, env={**environment, "CHAT_DATA_DIR": str(folder / "data")}, stdout=output, stderr=output,
        )  # fmt: skip
    wait_for(lambda: "The chat runs at" in log.read_text() or process.poll() is not None, "the chat runs", deadline=180)
    assert process.poll() is None, log.read_text()
    return process


def state_of(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat from the state on; empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def is_running(pid: int) -> bool:
    return state_of(pid)[:1] not in ([], ["Z"])


def descendants(pid: int) -> dict[int, str]:
    """Processes below this one, with their command lines."""
    pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    children = [child for child in pids if state_of(child)[1:2] == [str(pid)]]
    found: dict[int, str] = {}
    for child in children:
        # It may have ended since its state was read.
        with suppress(OSError):
            found[child] = Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ")
        found |= descendants(child)
    return found


def services(folder: Path) -> list[int]:
    guardians = [int(path.name) for path in Path("/proc").glob("[0-9]*") if is_guardian(path, folder)]
    return [pid for guardian in guardians for pid in (guardian, *descendants(guardian))]


def is_guardian(path: Path, folder: Path) -> bool:
    try:
        return (path / "cmdline").read_text().split("\0")[-3:] == ["devstack.guardian", str(folder / "data"), ""]
    except OSError:
        return False


@pytest.mark.timeout(400)
@pytest.mark.parametrize("way", ["Ctrl-C", "the supervisor is killed", "the command is killed"])
def test_whatever_ends_it_nothing_is_left(folder: Path, way: str):
    process = start_run(folder)
    below = descendants(process.pid)
    running = [*below, *services(folder)]
    names = ("supervisord", "daphne", "run_outbox_poller", "run_event_consumer", "nginx: master", "nginx: worker")
    found = [sum(name in command for command in below.values()) for name in names]
    assert found[:-1] == [1, 2, 1, 1, 1] and found[-1] >= 1 and len(running) > sum(found)
    assert [f"The chat runs at {url}" in (folder / "run.log").read_text() for url in read_urls(folder / "data")] == [
        True
    ]
    if way == "Ctrl-C":
        process.send_signal(signal.SIGINT)
    elif way == "the command is killed":
        process.kill()
    else:
        os.kill(next(pid for pid, command in below.items() if "supervisord" in command), signal.SIGKILL)
    assert process.wait(120) == {"Ctrl-C": 0, "the command is killed": -9}.get(way, 1)
    wait_for(lambda: not any(map(is_running, running)), f"all {len(running)} processes end", deadline=120)

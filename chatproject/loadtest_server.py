"""Which processes on this machine are the chat that a load test meets, so that their CPU and memory can be watched."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from devstack import DevStack, StackError
from devstack.state import SERVICES


def find_processes(root: Path, data: Path) -> dict[str, int]:
    """Name → process id, of the processes that `make run` has started in this project, and of its embedded services."""
    found = {process.environ()["CHAT_PROCESS"]: int(process.pid) for process in _of_chat(root)}
    if (data / "state.json").exists():
        with suppress(StackError):
            stack = DevStack(data)
            found |= {service: pid for service in SERVICES if (pid := stack.pid(service)) is not None}
    return found


def find_metrics(root: Path) -> list[str]:
    """Addresses of the metrics of those processes that have a port for them."""
    ports = {process.environ().get("METRICS_PORT") for process in _of_chat(root)}
    return [f"http://127.0.0.1:{port}/metrics" for port in sorted(port for port in ports if port)]


def _of_chat(root: Path) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        try:
            environment = process.environ()
            same_data = environment.get("CHAT_DATA_DIR") == os.environ.get("CHAT_DATA_DIR")
            if environment.get("CHAT_PROCESS") and same_data and Path(process.cwd()) == root:
                yield process
        except (psutil.Error, OSError):
            continue

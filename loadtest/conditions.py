"""Under which conditions a run was made, so that its figures can be judged later."""

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Conditions:
    """`versions`: package → its version, of those that are installed. `commit` is empty outside a git repository, and
    ends in `+` where files have been changed since. `load`: the load average when the run began."""

    time: str
    machine: str
    cores: int
    affinity: int
    memory: int
    python: str
    commit: str
    load: float
    versions: dict[str, str]
    urls: Sequence[str]


def read_conditions(urls: Sequence[str], packages: Sequence[str]) -> Conditions:
    return Conditions(
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=f"{platform.system()} {platform.release()}, {cpu_model()}",
        cores=os.cpu_count() or 1,
        affinity=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory=psutil.virtual_memory().total,
        python=platform.python_version(),
        commit=_commit(),
        load=os.getloadavg()[0],
        versions={package: found for package in packages if (found := _version(package))},
        urls=list(urls),
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _commit() -> str:
    commit = _git("rev-parse", "--short", "HEAD")
    return f"{commit}+" if commit and _git("status", "--porcelain", "--untracked-files=no") else commit


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603 (fixed)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip()

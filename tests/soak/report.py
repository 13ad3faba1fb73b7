"""What a soak found, read from pytest's results and written into docs/soak.md."""

import os
import platform
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from xml.etree import ElementTree

from confluent_kafka import libversion

from devstack.jars import VERSION
from tests.soak.scenarios import ROOT, Scenario


def _commit() -> str:
    """What was tested; `-dirty` when the files differed from it."""
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


COMMIT = _commit()  # when this process started: a long run does not follow what is committed meanwhile
HEADER = """# Soak runs
Written by `make soak`, newest first. A round runs all tests of its scenario once; nothing is tried again. Fault figures
are seconds: *silence* is how long no message was acknowledged, *recovery* how long after Kafka was whole again the
first one was.
"""


@dataclass
class Round:
    seed: int
    tests: int = 0
    seconds: float = 0.0
    failed: list[str] = field(default_factory=list)  # names of tests
    slowest: tuple[float, str] = (0.0, "")  # seconds, test
    figures: dict[str, float] = field(default_factory=dict)  # by what tests recorded

    @property
    def passed(self) -> bool:
        return self.tests > 0 and not self.failed

    @property
    def summary(self) -> str:
        failed = f", failed: {', '.join(self.failed)}" if self.failed else ""
        return f"{self.tests} tests in {self.seconds:.0f} s{failed}"


def read_round(results: Path, seed: int) -> Round:
    """A round whose pytest ended without results counts as failed: it has no tests."""
    done = Round(seed)
    if not results.exists():
        return done
    for case in ElementTree.parse(results).iter("testcase"):  # noqa: S314 (written by our own pytest)
        name, seconds = str(case.get("name")), float(case.get("time", 0))
        done.tests += 1
        done.seconds += seconds
        done.slowest = max(done.slowest, (seconds, name))
        if case.find("failure") is not None or case.find("error") is not None:
            done.failed.append(name)
        for figure in case.iter("property"):
            done.figures[str(figure.get("name"))] = float(figure.get("value", 0))
    return done


def write_section(path: Path, scenario: Scenario, started: datetime, rounds: Sequence[Round]) -> None:
    """Put it in front of the sections that are there."""
    before = path.read_text().removeprefix(HEADER) if path.exists() else ""
    path.write_text(f"{HEADER}\n" + "\n".join(_section(scenario, started, rounds)) + f"\n{before}")


def _section(scenario: Scenario, started: datetime, rounds: Sequence[Round]) -> Iterator[str]:
    passed = sum(done.passed for done in rounds)
    yield f"## {started:%Y-%m-%d %H:%M} UTC: {scenario.name}, {passed} of {len(rounds)} rounds passed"
    yield f"{_versions()} · Kafka brokers: {scenario.brokers} · commit {COMMIT}"
    yield ""
    yield "| round | seed | tests | seconds | slowest test | failed |"
    yield "|---|---|---|---|---|---|"
    for number, done in enumerate(rounds, 1):
        slowest = f"{done.slowest[0]:.0f} s `{done.slowest[1]}`"
        failed = ", ".join(f"`{name}`" for name in done.failed) or ("–" if done.passed else "no results")
        yield f"| {number} | {done.seed} | {done.tests} | {done.seconds:.0f} | {slowest} | {failed} |"
    figures = {name: [done.figures[name] for done in rounds if name in done.figures] for name in _names(rounds)}
    if figures:
        yield ""
        yield "| fault | rounds | least | median | most |"
        yield "|---|---|---|---|---|"
    for name, values in figures.items():
        yield f"| {name} | {len(values)} | {min(values):.2f} | {median(values):.2f} | {max(values):.2f} |"


def _names(rounds: Sequence[Round]) -> list[str]:
    return list(dict.fromkeys(name for done in rounds for name in done.figures))


def _versions() -> str:
    packages = " · ".join(f"{name} {version(name)}" for name in ("confluent-kafka", "channels", "pytest"))
    load = ", ".join(f"{average:.0f}" for average in os.getloadavg())
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, load {load} (1, 5, 15 minutes)"
    return (
        f"{machine} · Python {platform.python_version()} · Kafka {VERSION} · librdkafka {libversion()[0]} · {packages}"
    )

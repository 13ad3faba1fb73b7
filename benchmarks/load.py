"""The whole chat under load on each server, and a plain Channels chat beside it: `python -m benchmarks.load`.

The web process has the first core for itself; everything else is on the others, the generator too, which goes before
the services there. Writes its tables into docs/load.md. All of it takes about 90 minutes; `--servers` and `--parts`
name some, and the rows of the others stay as their reports say. Each row names the commit that was measured.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from statistics import median
from time import monotonic, sleep
from typing import Any, NamedTuple
from urllib.request import urlopen

import psutil

from benchmarks.report import conditions, write_between_markers
from devstack import DevStack
from devstack.jars import VERSION as KAFKA_VERSION
from devstack.servers import SERVERS
from loadtest.report.markdown import table

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / ".data" / "benchmark-load"
DOCUMENT = ROOT / "docs" / "load.md"
PORT = 8900
HEADROOM = "66"  # percent of its core that the generator may take: it could do 1.5 times as much
NICENESS = -10  # of the generator
AUTOGROUP = Path("/proc/self/autogroup")
READY_DEADLINE = 120.0  # seconds
PLAIN = ("plain-core", "plain-pubsub")
PARTS = ("seed", "max", "storm", "idle")
# Until the JVM has compiled what Kafka needs for it, latencies are some times as high.
WARM_UP = ("--profile", "seed")
# Where the search for the largest room begins.
STARTS = {"daphne": 800, "uvicorn": 1300, "granian": 1200, "plain-core": 20, "plain-pubsub": 20}


class Cores(NamedTuple):
    """Core numbers: the web process alone, and everything else."""

    web: set[int]
    others: set[int]

    @classmethod
    def of_this_machine(cls) -> "Cores":
        first, *others = sorted(os.sched_getaffinity(0))
        if not others:
            raise SystemExit("Two cores are needed: one for the web process, one for the rest.")
        return cls({first}, set(others))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", nargs="+", choices=[*SERVERS, *PLAIN], default=[*SERVERS, *PLAIN])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--results", type=Path, default=DATA / "results", help="where the reports of all runs are kept")
    arguments = parser.parse_args()
    cores = Cores.of_this_machine()
    os.sched_setaffinity(0, cores.others)
    os.environ["CHAT_DATA_DIR"] = str(DATA)
    load_before = os.getloadavg()[0]
    # What was started is ended then, too: the next run must not meet it at the port.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Stopped."))
    try:
        for server in arguments.servers:
            for part in arguments.parts:
                if server in PLAIN and part in {"storm", "idle"}:
                    continue  # it has no resume, and its sockets are those of Channels
                found = list(measure(server, part, arguments.repeat, arguments.results, cores))
                print(server, part, *map(summary, found), sep="\n  ", flush=True)
    finally:
        # Not before: reports tell that files have been changed since their commit.
        everything = {
            (server, part): kept
            for server in (*SERVERS, *PLAIN)
            for part in PARTS
            if (kept := kept_reports(arguments.results / server, part))
        }
        write_between_markers("figures", "\n\n".join(tables(everything, load_before)), path=DOCUMENT)


def running(server: str, cores: Cores) -> AbstractContextManager[None]:
    return running_plain(server, cores) if server in PLAIN else running_chat(server, cores)


@contextmanager
def running_chat(server: str, cores: Cores) -> Iterator[None]:
    """`make run` with services of its own, and with the web process on its core."""
    with started([str(ROOT / "manage.py"), "run", "--port", str(PORT), "--server", server], {}) as process:
        wait_ready(process)
        web = next(p for p in psutil.process_iter() if name_of(p) == f"web-{PORT}")
        pin(web, cores.web)
        yield


@contextmanager
def running_plain(name: str, cores: Cores) -> Iterator[None]:
    stack = DevStack(DATA)
    with stack:
        command = ["-m", *SERVERS["daphne"](PORT), "benchmarks.plain_chat:application"]
        environment = {**stack.addresses(), "PLAIN_LAYER": name.removeprefix("plain-"), "CHAT_PROCESS": f"web-{PORT}"}
        with started(command, environment) as process:
            wait_ready(process)
            pin(psutil.Process(process.pid), cores.web)
            yield


@contextmanager
def started(command: Sequence[str], environment: Mapping[str, str]) -> "Iterator[subprocess.Popen[bytes]]":
    process = subprocess.Popen(  # noqa: S603 (our own command line)
        [sys.executable, *command], cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def wait_ready(process: "subprocess.Popen[bytes]") -> None:
    end = monotonic() + READY_DEADLINE
    while monotonic() < end and process.poll() is None:
        with suppress(OSError), urlopen(f"http://127.0.0.1:{PORT}/health/ready", timeout=5):
            return
        sleep(0.2)
    raise SystemExit(f"Nothing serves at port {PORT}. Is it taken? make run says more.")


def name_of(process: psutil.Process) -> str:
    try:
        return str(process.environ().get("CHAT_PROCESS", ""))
    except psutil.Error:
        return ""


def pin(process: psutil.Process, cores: set[int]) -> None:
    """All threads that it and its children have; those that come later inherit it."""
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.Error):
            for thread in one.threads():
                with suppress(ProcessLookupError):  # it has ended meanwhile
                    os.sched_setaffinity(thread.id, cores)


def measure(server: str, part: str, repeat: int, results: Path, cores: Cores) -> Iterator[dict[str, Any]]:
    """The reports of the generator, in the place of those of an earlier run."""
    for earlier in (results / server).glob(f"{part}*"):
        shutil.rmtree(earlier)
    if part == "idle":
        # Each in a process of its own: one that has had many sockets takes no new memory for them.
        for number in range(repeat):
            with running(server, cores):
                load(*WARM_UP, "--users", "10")
                yield load("--profile", part, keep=results / server / f"{part}-{number + 1}")
        return
    with running(server, cores):
        load(*WARM_UP)
        if part == "max":
            # The search repeats itself.
            yield load("--profile", "stadium", "--find-max", "--users", str(STARTS[server]), "--repeat", str(repeat),
                       "--max-cpu", HEADROOM, keep=results / server / part)  # fmt: skip
            return
        for number in range(repeat):
            yield load("--profile", part, keep=results / server / f"{part}-{number + 1}")


def kept_reports(folder: Path, part: str) -> list[dict[str, Any]]:
    """Of an earlier run."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob(f"{part}*/report.json"))]


def put_first(pid: int) -> None:
    """The generator goes before the services on their core: it must not be late. Where Linux shares a core by sessions
    (autogroup), the niceness of a process counts only within its own. Both need root; without it the generator may find
    itself to be the limit, and says so."""
    with suppress(PermissionError, psutil.Error):
        psutil.Process(pid).nice(NICENESS)
        if AUTOGROUP.exists():
            Path(f"/proc/{pid}/autogroup").write_text(str(NICENESS))


def load(*options: str, keep: Path | None = None) -> dict[str, Any]:
    """Run the generator and return its report. What it finds fault with is in there."""
    with tempfile.TemporaryDirectory() as folder:
        at = keep or Path(folder)
        command = [sys.executable, str(ROOT / "manage.py"), "loadtest", "--url", f"http://127.0.0.1:{PORT}", *options]
        (at / "report.json").unlink(missing_ok=True)
        command += ["--report", str(at)]
        with subprocess.Popen(  # noqa: S603 (our own command line)
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        ) as generator:
            put_first(generator.pid)
            output, _ = generator.communicate()
        report = at / "report.json"
        if not report.exists():
            raise SystemExit(output[-2000:])
        document: dict[str, Any] = json.loads(report.read_text())
        return document


def summary(report: dict[str, Any]) -> str:
    search, delivery = report["search"], report["latencies"].get("delivery")
    found = f"{search['summary']}; " if search else ""
    times = f"p50 {delivery['p50']:.1f}, p99 {delivery['p99']:.1f} ms, " if delivery else ""
    return f"{found}{report['described']}: {times}{faults(report)}"


def tables(runs: Mapping[tuple[str, str], list[dict[str, Any]]], load_before: float) -> Iterator[str]:
    packages = ["django", "channels", "channels-redis", "daphne", "uvicorn", "granian"]
    yield conditions(packages, f"Apache Kafka {KAFKA_VERSION} (one broker)", load_before)
    parts: dict[str, dict[str, list[dict[str, Any]]]] = {part: {} for part in PARTS}
    for (server, part), found in sorted(runs.items()):
        parts[part][server] = found
    for part, text, head, row in (
        ("seed", "**Seed**: 100 people, 10,000 deliveries a second.", SEED, seed_row),
        (
            "max",
            "**The largest room** with a p99 of 500 ms, a message a second and user; figures of its best run.",
            MOST,
            most_row,
        ),
        ("storm", "**Storm**: 1,000 sockets in 20 rooms are cut at once.", STORM, storm_row),
        ("idle", "**Idle**: 2,000 sockets that say nothing.", IDLE, idle_row),
    ):
        if parts[part]:
            rows = [[*row(server, found), good(found), commits(found)] for server, found in parts[part].items()]
            yield f"{text}\n\n{table([*head, 'good runs', 'commit'], rows)}"


Reports = list[dict[str, Any]]
FAULTS = "lost · twice · disordered"
FAULT_COUNTS = ("lost", "twice", "out_of_order")
SEED = ["server", "p50 ms", "p99 ms", FAULTS, "CPU of the web process"]
MOST = ["server", "users", "p50 ms", "p99 ms", "deliveries/s", FAULTS, "storage lag, s", "generator's core"]
STORM = ["server", "all back after s", "peak CPU", FAULTS, "gaps", "p99 ms"]
IDLE = ["server", "KB a socket", "CPU"]


def seed_row(server: str, reports: Reports) -> list[object]:
    return [server, *(latency(reports, at) for at in ("p50", "p99")), worst_faults(reports), cpu(reports)]


def most_row(server: str, reports: Reports) -> list[object]:
    """Of the one search, with the figures of its best run."""
    (report,) = reports
    steady, counts = steady_seconds(report), report["counts"]
    rate = sum(second["received"] for second in steady) / len(steady)
    lag = "–" if counts["storage_lag_s"] is None else f"{counts['storage_lag_s']:.1f}"
    return [server, report["search"]["summary"], *(latency(reports, at) for at in ("p50", "p99")), f"{rate:,.0f}",
            worst_faults(reports), lag, f"{counts['generator_busiest']:.0%}"]  # fmt: skip


def storm_row(server: str, reports: Reports) -> list[object]:
    back = [report["latencies"]["returning"]["max"] / 1000 for report in reports if has_returned(report)]
    last = spread(back, 1) if len(back) == len(reports) else "–"
    peak = [max(web_figures(report, "cpu")) for report in reports]
    gaps = max(report["counts"]["gaps"] for report in reports)
    return [server, last, spread(peak, 2), worst_faults(reports), gaps, latency(reports, "p99")]


def has_returned(report: dict[str, Any]) -> bool:
    """Whether all are back."""
    return bool(report["latencies"].get("returning", {}).get("count") == report["counts"]["cut"])


def idle_row(server: str, reports: Reports) -> list[object]:
    grown = [(web_figures(report, "memory")[-1] - report["memory_before"][f"web-{PORT}"]) / 1000 for report in reports]
    sockets = [report["counts"]["joined"] for report in reports]
    return [server, spread([size / count for size, count in zip(grown, sockets, strict=True)], 1), cpu(reports)]


def good(reports: Reports) -> str:
    """Those in which neither the server made a fault nor the generator was the limit; of a search, its trials."""
    if search := reports[0]["search"]:
        return f"{sum(trial['result'] == 'passed' for trial in search['trials'])} of {len(search['trials'])}"
    return f"{sum(not report['violations'] and not report['weaknesses'] for report in reports)} of {len(reports)}"


def commits(reports: Reports) -> str:
    return ", ".join(sorted({report["conditions"]["commit"] for report in reports}))


def latency(reports: Reports, at: str) -> str:
    return spread([report["latencies"]["delivery"][at] for report in reports])


def cpu(reports: Reports) -> str:
    return spread([median(web_figures(report, "cpu")) for report in reports], 2)


def web_figures(report: dict[str, Any], name: str) -> list[float]:
    return [second[name][f"web-{PORT}"] for second in steady_seconds(report) if f"web-{PORT}" in second[name]]


def steady_seconds(report: dict[str, Any]) -> list[dict[str, Any]]:
    return [second for second in report["seconds"] if second["phase"] == "steady"]


def worst_faults(reports: Reports) -> str:
    return faults(max(reports, key=lambda report: [report["counts"][name] for name in FAULT_COUNTS]))


def faults(report: dict[str, Any]) -> str:
    counts = report["counts"]
    return " · ".join(str(counts[name]) for name in FAULT_COUNTS)


def spread(figures: Sequence[float], digits: int = 0) -> str:
    """Median, least and most."""
    middle, least, most = (f"{figure:.{digits}f}" for figure in (median(figures), min(figures), max(figures)))
    return middle if len(figures) == 1 else f"{middle} ({least} to {most})"


if __name__ == "__main__":
    main()

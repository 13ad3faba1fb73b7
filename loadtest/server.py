"""What the server's own machine tells during a run: CPU and memory of its processes, and its metrics."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from math import inf
from threading import Event, Thread
from time import monotonic
from urllib.request import urlopen

import psutil

from loadtest.timeline import Second, Timeline

PATIENCE = 0.5  # seconds for an answer of a metrics port; a busy process may miss a second
RECOUNT = 10  # looks after which a process's children are looked up again
STORAGE_LAG = "chat_event_lag_records"
# Metrics that are noted, added up over their labels; the largest of several processes counts.
NOTED = frozenset(
    {"chat_loop_lag_seconds", "chat_frames_sent_total", "chat_bytes_sent_total", "chat_outbox_oldest_seconds",
     "chat_outbox_pending", STORAGE_LAG, "kafka_layer_lag_seconds"}
)  # fmt: skip


class Watched:
    """A process and its children, such as a server's workers or a database's backends."""

    def __init__(self, pid: int) -> None:
        self._leader = psutil.Process(pid)
        # With the CPU seconds of each when it was last looked at.
        self._family: dict[psutil.Process, float] = {}
        self._looks = 0
        self._at = monotonic()
        self._spent()

    def look(self) -> tuple[float, int]:
        """The share of a core since the last look, and resident bytes (memory that they share counts for each). Raises
        `psutil.Error` when the process has ended."""
        if not self._leader.is_running() or self._leader.status() == psutil.STATUS_ZOMBIE:
            raise psutil.NoSuchProcess(self._leader.pid)
        now = monotonic()
        share = self._spent() / max(1e-6, now - self._at)
        self._at = now
        return share, sum(self._memory(process) for process in self._family)

    def _spent(self) -> float:
        """CPU seconds since the last look. A child counts from the look that finds it on."""
        if self._looks % RECOUNT == 0:
            family = [self._leader, *self._leader.children(recursive=True)]
            self._family = {process: self._family.get(process, inf) for process in family}
        self._looks += 1
        spent = 0.0
        for process, before in self._family.items():
            with suppress(psutil.Error):
                times = process.cpu_times()
                self._family[process] = times.user + times.system
                spent += max(0.0, self._family[process] - before)
        return spent

    def _memory(self, process: psutil.Process) -> int:
        with suppress(psutil.Error):
            return int(process.memory_info().rss)
        return 0


class Sampler:
    """`processes`: name → process id; `metrics`: addresses of `/metrics`. Both may be empty."""

    def __init__(self, processes: Mapping[str, int], metrics: Sequence[str]) -> None:
        self._pids = dict(processes)
        self._metrics = list(metrics)
        self._watched: dict[str, Watched] = {}

    def begin(self, timeline: Timeline) -> None:
        """Take the figures of the idle server."""
        for name, pid in self._pids.items():
            with suppress(psutil.Error):
                self._watched[name] = Watched(pid)
                _, timeline.before[name] = self._watched[name].look()

    def look(self, second: Second) -> None:
        """Note how things stand. A process that has ended is left out."""
        for name, watched in self._watched.items():
            with suppress(psutil.Error):
                second.processes[name] = watched.look()
        if self._metrics:
            with ThreadPoolExecutor(len(self._metrics)) as threads:
                for found in threads.map(read_metrics, self._metrics):
                    for metric, value in found.items():
                        second.metrics[metric] = max(value, second.metrics.get(metric, value))

    @contextmanager
    def looking(self, timeline: Timeline, zero: float) -> Iterator[None]:
        """Look once a second, from a thread: workers wait for whoever hears them. `zero` is the plan's on the clock of
        `time.monotonic`."""
        over = Event()

        def look() -> None:
            second = 1
            while not over.wait(max(0.0, zero + second - monotonic())):
                self.look(timeline.at(second))
                second = max(second, int(monotonic() - zero)) + 1

        thread = Thread(target=look, name="sampler", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def read_metrics(address: str) -> dict[str, float]:
    """The noted metrics of one process; none when it does not answer in time."""
    try:
        with urlopen(address, timeout=PATIENCE) as answer:  # noqa: S310 (the operator's own)
            return parse_metrics(answer.read().decode())
    except (OSError, ValueError):
        return {}


def parse_metrics(text: str) -> dict[str, float]:
    """Raises `ValueError` for what Prometheus could not read either."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        name = line.partition("{")[0].partition(" ")[0]
        if name in NOTED:
            found[name] = found.get(name, 0.0) + float(line.rpartition(" ")[2])
    return found

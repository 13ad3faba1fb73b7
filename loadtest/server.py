"""What the server's own machine tells during a run: CPU and memory of its processes, and its metrics."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from time import monotonic
from urllib.request import urlopen

import psutil

from loadtest.timeline import Second, Timeline

PATIENCE = 0.5  # seconds for an answer of a metrics port; a busy process may miss a second
RECOUNT = 10  # looks after which a process's children are looked up again
# Metrics that are noted, added up over their labels; the largest of several processes counts.
NOTED = frozenset(
    {"chat_connections", "chat_loop_lag_seconds", "chat_frames_sent_total", "chat_bytes_sent_total",
     "chat_outbox_oldest_seconds",
     "chat_outbox_pending", "chat_event_lag_records", "kafka_layer_lag_seconds", "kafka_layer_ring_bytes"}
)  # fmt: skip


class Watched:
    """A process and its children, such as a server's workers or a database's backends."""

    def __init__(self, pid: int) -> None:
        self._leader = psutil.Process(pid)
        self._family: list[psutil.Process] = []
        self._looks = 0
        self._before, self._at = self._cpu(), monotonic()

    def look(self) -> tuple[float, int]:
        """The share of a core since the last look, and resident bytes (memory that they share counts for each). Raises
        `psutil.Error` when the process has ended."""
        if not self._leader.is_running() or self._leader.status() == psutil.STATUS_ZOMBIE:
            raise psutil.NoSuchProcess(self._leader.pid)
        cpu, now = self._cpu(), monotonic()
        # A child that has ended takes its CPU time with it.
        share = max(0.0, cpu - self._before) / max(1e-6, now - self._at)
        self._before, self._at = cpu, now
        return share, sum(self._memory(process) for process in self._family)

    def _cpu(self) -> float:
        if self._looks % RECOUNT == 0:
            self._family = [self._leader, *self._leader.children(recursive=True)]
        self._looks += 1
        total = 0.0
        for process in self._family:
            with suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
        return total

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
        for address in self._metrics:
            for metric, value in read_metrics(address).items():
                second.metrics[metric] = max(value, second.metrics.get(metric, value))


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

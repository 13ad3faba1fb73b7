"""What the server's own machine tells during a run: CPU and memory of its processes, and its metrics."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from time import monotonic
from urllib.request import urlopen

import psutil

from loadtest.timeline import Second, Timeline

PATIENCE = 0.5  # seconds for an answer of a metrics port; a busy process may miss a second
# Metrics that are noted, added up over their labels; the largest of several processes counts.
NOTED = frozenset(
    {"chat_connections", "chat_outbox_oldest_seconds", "chat_outbox_pending", "chat_event_lag_records",
     "kafka_layer_lag_seconds", "kafka_layer_ring_bytes"}
)  # fmt: skip


class Sampler:
    """`processes`: name → process id; `metrics`: addresses of `/metrics`. Both may be empty."""

    def __init__(self, processes: Mapping[str, int], metrics: Sequence[str]) -> None:
        self._pids = dict(processes)
        self._metrics = list(metrics)
        # Name → process, CPU seconds at the last look, and when that was.
        self._processes: dict[str, tuple[psutil.Process, float, float]] = {}

    def begin(self, timeline: Timeline) -> None:
        """Take the figures of the idle server."""
        for name, pid in self._pids.items():
            with suppress(psutil.Error):
                process = psutil.Process(pid)
                self._processes[name] = (process, _cpu(process), monotonic())
                timeline.before[name] = process.memory_info().rss

    def look(self, second: Second) -> None:
        """Note how things stand. A process that has ended since is left out."""
        for name, (process, before, at) in list(self._processes.items()):
            with suppress(psutil.Error):
                cpu, now = _cpu(process), monotonic()
                second.processes[name] = ((cpu - before) / max(1e-6, now - at), process.memory_info().rss)
                self._processes[name] = (process, cpu, now)
        for address in self._metrics:
            for metric, value in read_metrics(address).items():
                second.metrics[metric] = max(value, second.metrics.get(metric, value))


def read_metrics(address: str) -> dict[str, float]:
    """The noted metrics of one process; none when it does not answer in time."""
    try:
        with urlopen(address, timeout=PATIENCE) as answer:  # noqa: S310 (the operator's own)
            lines = answer.read().decode().splitlines()
    except (OSError, ValueError):
        return {}
    found: dict[str, float] = {}
    for line in lines:
        name = line.partition("{")[0].partition(" ")[0]
        if name in NOTED:
            found[name] = found.get(name, 0.0) + float(line.rpartition(" ")[2])
    return found


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)

"""The outcome as data: what stands in the JSON file, and what Markdown and the page are made from."""

from dataclasses import asdict, dataclass
from typing import Any

from loadtest.conditions import Conditions
from loadtest.latencies import Latencies
from loadtest.report.console import PERCENTILES, describe, latency_rows, percentile_name
from loadtest.run import Run
from loadtest.search import Search
from loadtest.timeline import Second
from loadtest.verdict import Limits, violations, weaknesses

# Percentiles of the curve, which shows the tail.
CURVE = (0, 10, 25, 50, 75, 90, 95, 97.5, 99, 99.5, 99.75, 99.9, 99.95, 99.99, 100)


@dataclass(frozen=True)
class Document:
    """`data` is the JSON; latencies in milliseconds, memory in bytes, CPU in shares of a core."""

    data: dict[str, Any]

    @classmethod
    def of(cls, run: Run, limits: Limits, conditions: Conditions, search: Search | None = None) -> "Document":
        """`search`: the run is its best one."""
        outcome, plan = run.outcome, run.plan
        found, weak = violations(plan, outcome, limits), weaknesses(outcome, limits)
        return cls(
            {
                "described": describe(plan),
                "passed": not found and not weak,
                "violations": found,
                "weaknesses": weak,
                "conditions": asdict(conditions),
                "plan": asdict(plan),
                "limits": asdict(limits),
                "workers": run.workers,
                "counts": _counts(run),
                "latencies": {name: _latencies(latencies) for name, latencies in latency_rows(outcome).items()},
                "memory_before": run.timeline.before,
                "seconds": _seconds(run),
                "search": None if search is None else _search(search),
            }
        )


def _search(search: Search) -> dict[str, Any]:
    trials = [{**asdict(trial), "result": trial.result.value} for trial in search.trials]
    return {"summary": str(search), "median": search.median, "found": search.found, "trials": trials}


def _counts(run: Run) -> dict[str, Any]:
    outcome = run.outcome
    names = ("joined", "sent", "acknowledged", "received", "frames", "lost", "twice", "out_of_order", "foreign", "gaps",
             "rooms_lost", "reconnects", "cut", "refusals", "followers", "late")  # fmt: skip
    return {
        **{name: getattr(outcome, name) for name in names},
        "unacknowledged": len(outcome.unacknowledged),
        "created": len(outcome.created),
        "errors": dict(outcome.errors),
        "closes": dict(outcome.closes),
        "other_frames": dict(outcome.others),
        "latest_send_ms": _round(outcome.latest * 1000),
        "generator_lag_p99_ms": _round(outcome.lag * 1000),
        "generator_busiest": _round(outcome.busiest),
        "storage_lag_s": None if outcome.storage_lag is None else _round(outcome.storage_lag),
    }


def _latencies(latencies: Latencies) -> dict[str, Any]:
    return {
        "count": latencies.count,
        **{percentile_name(percentile): _milliseconds(latencies, percentile) for percentile in PERCENTILES},
        "curve": [[percentile, _milliseconds(latencies, percentile)] for percentile in CURVE],
    }


def _seconds(run: Run) -> list[dict[str, Any]]:
    """Rates are of the second, the rest is as it was at its end."""
    rows = []
    before = Second(0)
    for second in run.timeline.in_order():
        rates = {
            name: second.total(name) - before.total(name) for name in ("sent", "acknowledged", "received", "frames")
        }
        rows.append(
            {
                "second": second.second,
                "phase": run.timeline.phase(second),
                "joined": second.total("joined"),
                "errors": second.total("errors"),
                **rates,
                **{percentile_name(at): _round(seconds * 1000) for at, seconds in second.delivery.items()},
                "generator_cpu": [_round(progress.cpu) for _, progress in sorted(second.workers.items())],
                "generator_lag_ms": _round(second.lag * 1000),
                "cpu": {name: _round(cpu) for name, (cpu, _) in second.processes.items()},
                "memory": {name: memory for name, (_, memory) in second.processes.items()},
                "metrics": second.metrics,
            }
        )
        before = second
    return rows


def _milliseconds(latencies: Latencies, percentile: float) -> float:
    return _round(latencies.at(percentile) * 1000)


def _round(figure: float) -> float:
    return round(figure, 3)

"""The outcome as one page that needs nothing else: no script, no font, no picture from elsewhere."""

from collections.abc import Iterable, Sequence
from html import escape
from math import log10
from typing import Any

from loadtest.report.console import PERCENTILES, percentile_name
from loadtest.report.document import Document
from loadtest.report.markdown import SERVER, TRIAL, condition_lines, server_rows, trial_rows, verdict
from loadtest.report.plots import Axis, Points, line_plot

STYLE = """
:root { color-scheme: light dark; --line: #8884; --muted: #777 }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 84rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 } p { max-width: 60rem }
.verdict { padding: .6rem 1rem; border-left: .4rem solid #009e73; background: #009e7318 }
.verdict.failed { border-color: #d55e00; background: #d55e0018 }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); gap: 1rem }
figure { margin: 0; border: 1px solid var(--line); border-radius: .5rem; padding: .6rem }
figcaption { font-weight: 600 } svg { width: 100%; height: auto }
svg text { font: 11px system-ui, sans-serif; fill: currentColor } .grid { stroke: var(--line) }
table { border-collapse: collapse; margin: 1rem 0 } td, th { padding: .2rem .8rem; border-bottom: 1px solid var(--line);
text-align: right } td:first-child, th:first-child { text-align: left } li { color: var(--muted) }
"""
SECONDS = Axis("seconds")


def render_page(document: Document) -> str:
    data = document.data
    percentiles = [percentile_name(percentile) for percentile in PERCENTILES]
    latencies = [
        [name, *(f"{figures[percentile]:.1f}" for percentile in percentiles), figures["count"]]
        for name, figures in data["latencies"].items()
    ]
    counts = [
        [name.replace("_", " "), figure] for name, figure in data["counts"].items() if not isinstance(figure, dict)
    ]
    failed = "" if data["passed"] else " failed"
    body = [
        f"<h1>Load test</h1><p>{escape(data['described'])}.</p>",
        f'<p class="verdict{failed}">{escape(verdict(data).replace("**", ""))}</p>',
        _table(["milliseconds", *percentiles, "count"], latencies),
        f"<p>{escape(data['search']['summary'])}</p>" if data["search"] else "",
        _table(TRIAL, trial_rows(data)),
        f'<div class="plots">{"".join(_plots(data))}</div>',
        _table(SERVER, server_rows(data)),
        _table(["what", "count"], counts),
        "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in condition_lines(data)) + "</ul>",
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Load test</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )


def _plots(data: dict[str, Any]) -> list[str]:
    seconds = data["seconds"]
    times = {name: _over_time(seconds, name) for name in ("p50", "p99", "max")}
    rates = {name: _over_time(seconds, name) for name in ("received", "frames", "sent", "acknowledged")}
    curves = {name: _curve(figures["curve"]) for name, figures in data["latencies"].items()}
    metrics = {name: [(s["second"], s["metrics"][name]) for s in seconds if name in s["metrics"]] for name in _names(
        seconds, "metrics")}  # fmt: skip
    lags = {name: points for name, points in metrics.items() if name.endswith("_seconds")}
    waiting = {name: points for name, points in metrics.items() if name.endswith(("_records", "_pending"))}
    generator_lag = {"worst": _over_time(seconds, "generator_lag_ms")}
    milliseconds = Axis("milliseconds", logarithmic=True)
    return [
        line_plot("Delivery over time", SECONDS, milliseconds, times),
        line_plot("Percentiles", Axis("percentile", ticks=_curve_ticks()), milliseconds, curves),
        line_plot("Rates", SECONDS, Axis("per second", logarithmic=True), rates),
        line_plot("Users in their room", SECONDS, Axis("users"), {"joined": _over_time(seconds, "joined")}),
        line_plot("CPU of the server", SECONDS, Axis("cores"), _by_process(seconds, "cpu", 1)),
        line_plot("Memory of the server", SECONDS, Axis("MiB"), _by_process(seconds, "memory", 2**20)),
        line_plot("CPU of the generator", SECONDS, Axis("cores"), _generator(seconds)),
        line_plot("Loop lag of the generator", SECONDS, Axis("milliseconds"), generator_lag),
        line_plot("Lags that the server tells", SECONDS, Axis("seconds"), lags),
        line_plot("What waits in the server", SECONDS, Axis("count"), waiting),
    ]  # fmt: skip


def _over_time(seconds: Sequence[dict[str, Any]], name: str) -> Points:
    return [(second["second"], second[name]) for second in seconds if name in second]


def _names(seconds: Sequence[dict[str, Any]], group: str) -> list[str]:
    return sorted({name for second in seconds for name in second[group]})


def _by_process(seconds: Sequence[dict[str, Any]], group: str, unit: float) -> dict[str, Points]:
    return {
        name: [(second["second"], second[group][name] / unit) for second in seconds if name in second[group]]
        for name in _names(seconds, group)
    }


def _generator(seconds: Sequence[dict[str, Any]]) -> dict[str, Points]:
    workers = len(seconds[0]["generator_cpu"]) if seconds else 0
    return {
        f"worker {number}": [(second["second"], second["generator_cpu"][number]) for second in seconds]
        for number in range(workers)
    }


def _curve(curve: Iterable[tuple[float, float]]) -> Points:
    """The tail is stretched: each nine is as wide as the one before."""
    return [(_stretch(percentile), milliseconds) for percentile, milliseconds in curve]


def _stretch(percentile: float) -> float:
    return -log10(1 - min(percentile, 99.995) / 100)


def _curve_ticks() -> list[tuple[float, str]]:
    return [(_stretch(percentile), f"{percentile:g}") for percentile in (0, 50, 90, 99, 99.9, 99.99)]


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows]
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    return f"<table><tr>{titles}</tr>{''.join(lines)}</table>" if lines else ""

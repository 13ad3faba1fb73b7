"""The outcome as Markdown, for a pull request or a file in the repository."""

from collections.abc import Iterable, Sequence
from typing import Any

from loadtest.report.console import PERCENTILES, percentile_name
from loadtest.report.document import Document

SERVER = ("process", "CPU while all talked", "at most", "memory before", "memory at the end")
TRIAL = ("users", "result", "p99 in ms", "why")


def render_markdown(document: Document) -> str:
    data = document.data
    percentiles = [percentile_name(percentile) for percentile in PERCENTILES]
    latencies = [
        [name, *(f"{figures[percentile]:.1f}" for percentile in percentiles), figures["count"]]
        for name, figures in data["latencies"].items()
    ]
    counts = {name.replace("_", " "): figure for name, figure in data["counts"].items() if not isinstance(figure, dict)}
    parts = [
        "# Load test",
        data["described"] + ".",
        verdict(data),
        *search_parts(data),
        table(["milliseconds", *percentiles, "count"], latencies),
        table(["what", "count"], list(counts.items())),
        table(SERVER, server_rows(data)),
        "## Conditions",
        "\n".join(f"- {line}" for line in condition_lines(data)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def verdict(data: dict[str, Any]) -> str:
    if data["passed"]:
        return "**Passed**: every message reached everybody once and in order, within the limits."
    return "**Failed**: " + " ".join([*data["violations"], *data["weaknesses"]])


def search_parts(data: dict[str, Any]) -> list[str]:
    """What was tried to find the largest number of users; nothing without a search."""
    return [data["search"]["summary"] + ":", table(TRIAL, trial_rows(data))] if data["search"] else []


def trial_rows(data: dict[str, Any]) -> list[list[object]]:
    trials = data["search"]["trials"] if data["search"] else []
    return [[trial["users"], trial["result"], f"{trial['p99']:.0f}", " ".join(trial["reasons"])] for trial in trials]


def condition_lines(data: dict[str, Any]) -> list[str]:
    said = data["conditions"]
    return [
        f"{said['time']}, commit {said['commit'] or 'unknown'}",
        f"{said['machine']}; {said['cores']} cores ({said['affinity']} for the generator), "
        f"{said['memory'] / 2**30:.1f} GiB, load average before {said['load']:.1f}",
        f"{data['workers']} generator processes, servers: {', '.join(said['urls'])}",
        f"Python {said['python']}, " + ", ".join(f"{name} {number}" for name, number in said["versions"].items()),
    ]


def server_rows(data: dict[str, Any]) -> list[list[str]]:
    """Processes of the server that were watched: CPU on average and at most, and memory."""
    steady = [second for second in data["seconds"] if second["phase"] == "steady"]
    rows = []
    for name, before in data["memory_before"].items():
        seen = [second for second in steady if name in second["cpu"]]
        if seen:
            cpu = sum(second["cpu"][name] for second in seen) / len(seen)
            memory = [f"{amount / 2**20:.0f} MiB" for amount in (before, seen[-1]["memory"][name])]
            most = max(second["cpu"][name] for second in seen)
            rows.append([name, f"{cpu:.0%}", f"{most:.0%}", *memory])
    return rows


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Nothing without rows."""
    lines = [list(row) for row in rows]
    if not lines:
        return ""
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in [head, ["---"] * len(head), *lines])

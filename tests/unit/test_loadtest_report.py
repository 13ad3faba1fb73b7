"""The report of a load test, and the search for the largest number of users."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from loadtest import Limits, Outcome, Plan, Run, Sampler
from loadtest.conditions import read_conditions
from loadtest.progress import Progress
from loadtest.report.console import progress_line, render
from loadtest.report.document import Document
from loadtest.report.files import write_report
from loadtest.report.plots import Axis, line_plot
from loadtest.search import PRECISION, Result, Trial, find_max
from loadtest.server import parse_metrics
from loadtest.timeline import Timeline

PLAN = Plan(users=2, rooms=1, seconds=3, ramp=1, rate=1, length=40, run="r<1>")


@pytest.fixture
def run() -> Run:
    """Two workers in five seconds, with one process of the server watched."""
    timeline = Timeline(PLAN, 2)
    timeline.before["web"] = 50 << 20
    for number in range(1, 6):
        for worker in range(2):
            count = number * 10
            ticks = {50: 8, 500: 2}
            timeline.note(Progress(worker, number, 1, count, count, count * 2, count, 0, ticks, 0.25, 0.004))
        timeline.at(number).processes["web"] = (0.5, 60 << 20)
        timeline.at(number).metrics["chat_event_lag_records"] = number
    outcome = Outcome(joined=2, sent=100, acknowledged=100, received=200, frames=20)
    outcome.delivery.record(0.005, 80)
    outcome.delivery.record(0.05, 20)
    return Run(PLAN, 2, outcome, timeline)


def document(run: Run, limits: Limits | None = None) -> Document:
    return Document.of(run, limits or Limits(), read_conditions(["http://<here>"], ["hdrhistogram", "no-such-package"]))


def test_the_console_says_what_was_counted(run: Run):
    said = render(run)
    assert "lost 0, twice 0, out of order 0, foreign 0, unacknowledged 0, gaps 0, errors 0" in said
    assert "received 200 (10.0 messages a frame)" in said
    assert "web: 50% of a core (at most 50%), memory 50 → 60 MiB" in said


def test_idle_sockets_are_said_to_cost_memory(run: Run):
    run.plan = replace(PLAN, rate=0)
    assert "memory 50 → 60 MiB, 5120.0 KiB per socket" in render(run)


def test_progress_is_of_all_workers_together(run: Run):
    line = progress_line("steady", run.timeline.at(3))
    assert "sent 60" in line and "received 120" in line and "p99 50 ms" in line


def test_the_json_holds_the_rates_and_latencies_of_each_second(run: Run):
    data = json.loads(json.dumps(document(run).data))
    second = data["seconds"][2]
    assert (second["second"], second["phase"], second["sent"], second["received"]) == (3, "steady", 20, 40)
    assert (second["p50"], second["p99"]) == pytest.approx((5, 50), rel=0.01)
    assert second["cpu"] == {"web": 0.5} and second["metrics"] == {"chat_event_lag_records": 3}
    assert data["latencies"]["delivery"]["count"] == 100
    assert data["conditions"]["versions"].keys() == {"hdrhistogram"}


def test_the_report_says_whether_the_run_has_passed(run: Run, tmp_path: Path):
    write_report(tmp_path, document(run))
    assert "**Passed**" in (tmp_path / "report.md").read_text()
    write_report(tmp_path, document(run, Limits(p99=20)))
    assert "**Failed**: The p99 of the delivery is 50" in (tmp_path / "report.md").read_text()
    assert not json.loads((tmp_path / "report.json").read_text())["passed"]


def test_the_page_needs_nothing_else_and_escapes_what_it_shows(run: Run, tmp_path: Path):
    write_report(tmp_path, document(run))
    page = (tmp_path / "report.html").read_text()
    assert not re.search(r"<script|<link|<img|\bsrc=|url\(|@import", page)
    assert "<here>" not in page and "&lt;here&gt;" in page
    svgs = re.findall(r"<svg.*?</svg>", page)
    assert len(svgs) >= 8
    for svg in svgs:
        ElementTree.fromstring(svg)  # noqa: S314 (our own)


def test_a_plot_of_nothing_is_none():
    assert line_plot("Nothing", Axis("seconds"), Axis("count"), {"a": []}) == ""


@pytest.mark.parametrize("logarithmic", [True, False])
def test_a_plot_stays_within_its_picture(logarithmic: bool):
    points = [(0.0, 0.0), (1.0, 0.001), (2.0, 12345.0)]
    svg = line_plot("All", Axis("seconds"), Axis("count", logarithmic), {"a": points, "b": [(1.0, 5.0)]})
    ElementTree.fromstring(svg[svg.index("<svg") : svg.index("</figure>")])  # noqa: S314 (our own)
    [places, _] = re.findall(r'points="([^"]*)"', svg)
    for place in places.split():
        x, y = map(float, place.split(","))
        assert 0 <= x <= 640 and 0 <= y <= 260


def test_a_process_of_the_server_is_watched_until_it_has_ended():
    timeline = Timeline(PLAN, 1)
    sampler = Sampler({"me": os.getpid(), "gone": 2**22 + 1}, [])
    sampler.begin(timeline)
    sampler.look(timeline.at(1))
    assert timeline.before.keys() == timeline.at(1).processes.keys() == {"me"}
    assert timeline.before["me"] > 1 << 20


def test_metrics_are_added_up_over_their_labels():
    text = '# HELP x\nchat_event_lag_records{topic="a"} 2.0\nchat_event_lag_records{topic="b"} 3.0\nother 1.0\n'
    assert parse_metrics(text) == {"chat_event_lag_records": 5.0}


@pytest.mark.parametrize("start", [1, 40, 400, 2000])
def test_the_search_finds_the_largest_number_whatever_it_starts_from(start: int):
    def attempt(users: int) -> Trial:
        return Trial(users, Result.PASSED if users <= 437 else Result.FAILED, 0.0, [])

    search = find_max(attempt, start=start, repeat=3)
    assert all(437 * (1 - PRECISION) - 1 <= found <= 437 for found in search.found)
    assert len(search.found) == 3 and not search.is_bounded_by_generator


def test_a_repetition_goes_no_further_from_the_first_result_than_it_must():
    """A run far beyond what the server can do takes minutes to end."""

    def attempt(users: int) -> Trial:
        return Trial(users, Result.PASSED if users <= 437 else Result.FAILED, 0.0, [])

    once = find_max(attempt, start=400, repeat=1)
    thrice = find_max(attempt, start=400, repeat=3)
    again = [trial.users for trial in thrice.trials[len(once.trials) :]]
    assert max(again) <= round(1.1 * once.median)
    assert len(again) <= 2 * 4


def test_the_search_says_when_nobody_can_be_served():
    search = find_max(lambda users: Trial(users, Result.FAILED, 0.0, []), start=8, repeat=1)
    assert search.median == 0


def test_the_search_says_when_the_generator_was_the_limit():
    def attempt(users: int) -> Trial:
        return Trial(users, Result.PASSED if users <= 100 else Result.WEAK, 0.0, [])

    search = find_max(attempt, start=50, repeat=1)
    assert search.is_bounded_by_generator
    assert str(search).startswith("at least ")


def test_a_busy_generator_does_not_matter_where_the_server_fails_earlier():
    def attempt(users: int) -> Trial:
        result = Result.PASSED if users <= 100 else Result.FAILED if users < 150 else Result.WEAK
        return Trial(users, result, 0.0, [])

    search = find_max(attempt, start=300, repeat=2)
    assert any(trial.result is Result.WEAK for trial in search.trials)
    assert not search.is_bounded_by_generator


def test_the_report_of_a_search_lists_what_was_tried(run: Run, tmp_path: Path):
    search = find_max(lambda users: Trial(users, Result(["failed", "passed"][users < 9]), 7.0, []), start=4, repeat=2)
    conditions = read_conditions([], [])
    write_report(tmp_path, Document.of(run, Limits(), conditions, search))
    assert f"{search.median} users (median of 2, " in (tmp_path / "report.md").read_text()
    assert "| 9 | failed | 7 |  |" in (tmp_path / "report.md").read_text()
    assert "<td>failed</td>" in (tmp_path / "report.html").read_text()


def test_a_run_with_a_busy_generator_is_made_once_more():
    """Something else may have kept the machine busy."""
    results = {100: iter([Result.WEAK, Result.PASSED])}

    def attempt(users: int) -> Trial:
        return Trial(users, next(results.get(users, iter([Result.FAILED]))), 0.0, [])

    search = find_max(attempt, start=100, repeat=1)
    assert search.found == [100] and not search.is_bounded_by_generator

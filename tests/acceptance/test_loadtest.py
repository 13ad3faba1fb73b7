"""`manage.py loadtest` as a person runs it, against real servers."""

import json
from pathlib import Path

import pytest

from tests.acceptance.chat import Chat
from tests.acceptance.corrupting_proxy import CorruptingProxy, Fault

# The machine may be busy with other tests, which here is no fault of the generator.
LENIENT = ("--max-late", "100", "--max-lag", "60000", "--max-cpu", "1000")
FAULTLESS = "lost 0, twice 0, out of order 0, foreign 0, unacknowledged 0, gaps 0, errors 0"


def test_a_small_load_over_two_servers_two_rooms_and_two_workers_is_without_fault(chat: Chat, tmp_path: Path):
    one, two = chat.web("one"), chat.web("two")
    plan = ("--users", "6", "--rooms", "2", "--ramp", "1", "--seconds", "2", "--rate", "2", "--workers", "2")
    said = chat.manage("loadtest", *LENIENT, *plan, "--url", one.url, "--url", two.url, "--report", str(tmp_path))
    assert FAULTLESS in said
    assert "Every message reached everybody once and in order." in said
    assert "one: " in said and "two: " in said, "The server's processes are not watched."
    assert json.loads((tmp_path / "report.json").read_text())["passed"]
    assert "<svg" in (tmp_path / "report.html").read_text()
    assert "**Passed**" in (tmp_path / "report.md").read_text()


def test_all_come_back_after_a_storm_and_miss_nothing(chat: Chat):
    plan = ("--users", "20", "--rooms", "2", "--ramp", "0.5", "--seconds", "7", "--rate", "2", "--storm", "4")
    url = chat.web().url
    # A message whose acknowledgement was cut off is looked up in storage before it is sent again.
    chat.event_consumer()
    said = chat.manage("loadtest", *LENIENT, *plan, "--url", url)
    assert "cut 20, back 20, the last after" in said
    assert "reconnects 20" in said
    assert FAULTLESS in said


def test_a_crowd_of_all_sorts_is_without_fault(chat: Chat):
    url = chat.web().url
    chat.poller()
    chat.event_consumer()
    plan = ("--users", "30", "--rooms", "5", "--ramp", "1", "--seconds", "7", "--rate", "1", "--longest", "300")
    crowd = ("--zipf", "1", "--slow", "0.1", "--deaf", "0.1", "--comers", "0.1", "--memberships", "3", "--follow")
    said = chat.manage("loadtest", *LENIENT, *plan, *crowd, "--creations", "1", "--url", url)
    assert "created 4 rooms" in said
    assert FAULTLESS in said


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("drop", "lost 1, twice 0, out of order 0, foreign 0"),
        ("repeat", "lost 0, twice 1, out of order 0, foreign 0"),
        ("swap", "lost 0, twice 0, out of order 1, foreign 0"),
        ("alter", "lost 1, twice 0, out of order 0, foreign 1"),
    ],
)
def test_one_wrong_message_of_a_thousand_is_caught(chat: Chat, kind: str, found: str):
    web = chat.web()
    plan = ("--users", "20", "--rooms", "2", "--ramp", "0.5", "--seconds", "1.5", "--rate", "4")
    fault = Fault(kind, at=1000)
    with CorruptingProxy(int(web.url.rpartition(":")[2]), fault) as proxy:
        result = chat.attempt("loadtest", *LENIENT, *plan, "--url", proxy.url)
    assert fault.is_done
    assert found in result.stdout, result.stdout + result.stderr
    assert result.returncode == 1


def test_a_limit_that_is_passed_fails_the_run(chat: Chat):
    plan = ("--users", "2", "--ramp", "0", "--seconds", "1", "--max-p99", "0.001", "--url", chat.web().url)
    result = chat.attempt("loadtest", *LENIENT, *plan)
    assert result.returncode == 1
    assert "0.001 ms are allowed" in result.stderr

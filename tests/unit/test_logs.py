import logging

import pytest

from chatproject import logs
from chatproject.logs import Seldom


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """One number: the time in seconds."""
    time = [0.0]
    monkeypatch.setattr(logs, "monotonic", lambda: time[0])
    return time


def line(message: str, *args: object, **extra: object) -> logging.LogRecord:
    return logging.makeLogRecord({"msg": message, "args": args, **extra})


def test_what_is_said_again_and_again_is_logged_once_in_a_while_with_its_number(now: list[float]):
    seldom = Seldom()
    passed = []
    for now[0] in range(25):
        record = line("error connecting in %r: %s", "pool", now[0])
        if seldom.filter(record):
            passed.append(record.getMessage())
    assert passed == [
        "error connecting in 'pool': 0",
        "error connecting in 'pool': 10 (and 9 more like this)",
        "error connecting in 'pool': 20 (and 9 more like this)",
    ]


def test_something_else_is_logged_at_once(now: list[float]):
    seldom = Seldom()
    assert seldom.filter(line("error connecting"))
    assert seldom.filter(line("discarding closed connection"))


def test_only_answers_that_a_service_is_away_are_held_back(now: list[float]):
    seldom = Seldom()
    statuses = [500, 500, 503, 503, 500]
    assert [seldom.filter(line("%s: %s", status_code=status)) for status in statuses] == [True, True, True, False, True]

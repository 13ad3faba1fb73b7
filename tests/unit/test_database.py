"""Asking a database that is away."""

import random

import pytest
from django.db import OperationalError

from messaging import database
from messaging.database import until_answered


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda *_: 0.001)


async def test_a_question_is_asked_until_it_is_answered():
    asked = 0

    async def read() -> str:
        nonlocal asked
        asked += 1
        if asked < 4:
            raise OperationalError("Too many wait for a connection.")
        return "answer"

    assert await until_answered(read) == "answer"
    assert asked == 4


async def test_a_database_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(database, "GRACE", 0.05)

    async def read() -> None:
        raise OperationalError("Nobody is there.")

    with pytest.raises(OperationalError):
        await until_answered(read)


async def test_what_is_no_outage_is_told_at_once():
    async def read() -> None:
        raise ValueError("A mistake.")

    with pytest.raises(ValueError, match="mistake"):
        await until_answered(read)

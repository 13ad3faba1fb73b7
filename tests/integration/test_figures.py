"""The admin's live figures, from where they are true for all processes."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import redis
from django.conf import settings
from django.core.cache import cache
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from chatproject import figures
from chatproject.figures import MEANINGS, read_figures
from messaging.live import LiveFigures
from outbox.models import OutboxEvent
from tests.integration.people_support import PASSWORD, make_person

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _nobody_else(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No other test's processes, no shared look, and time enough for a busy Kafka."""
    monkeypatch.setattr(figures, "TIMEOUT", 30.0)
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        for key in client.scan_iter("live:*"):
            client.delete(key)
    cache.clear()
    yield


def tell(process: str, connections: int, people: list[int], lag: float = 0.0) -> None:
    """What a web process says of itself."""

    async def say() -> None:
        live = LiveFigures(settings.REDIS_URL, **settings.REDIS_OPTIONS)
        live._process = process
        await live.tell({"connections": connections, "lag_seconds": lag}, people)
        await live.close()

    asyncio.run(say())


def test_web_processes_are_added_up_and_people_counted_once() -> None:
    """Whatever process they are connected to; the reader lag is that of the last one."""
    tell("web1", 3, [1, 2], lag=0.2)
    tell("web2", 2, [2, 3], lag=4.0)
    seen = read_figures()
    assert (seen["processes"], seen["connections"], seen["people"], seen["reader_lag"]) == (2, 5, 3, 4.0)


def test_an_empty_chat_has_figures_too() -> None:
    """Zeros, of everything that the page shows; the rate comes from two looks."""
    seen = read_figures()
    assert {name for name, _, _ in MEANINGS} - {"rate"} <= set(seen)
    # Dead letters of other tests stay in their topic.
    assert seen["connections"] == seen["people"] == seen["processes"] == 0


def test_the_outbox_says_what_waits_and_since_when() -> None:
    """What is sent counts no more; what is dead is told apart."""
    for name in ("alice", "bob", "carol"):
        make_person(name)
    sent, dead, _ = OutboxEvent.objects.order_by("created_at")
    OutboxEvent.objects.filter(pk=sent.pk).update(sent_at=timezone.now())
    OutboxEvent.objects.filter(pk=dead.pk).update(
        dead_at=timezone.now(), created_at=timezone.now() - timedelta(minutes=5)
    )
    seen = read_figures()
    assert (seen["outbox_pending"], seen["outbox_dead"]) == (2, 1) and 300 <= seen["outbox_oldest"] < 400


def test_a_service_that_is_away_takes_its_figures_along_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page is needed most when something is broken."""

    def away() -> dict[str, float]:
        raise redis.ConnectionError

    away.__name__ = "redis"
    monkeypatch.setattr(figures, "_web_processes", away)
    seen = read_figures()
    assert "connections" not in seen and "outbox_pending" in seen and "records" in seen


def test_the_staff_sees_the_page_and_nobody_else() -> None:
    """Neither it nor its data; the admin's first page leads there."""
    person = make_person("alice")
    client = Client()
    client.login(username="alice", password=PASSWORD)
    for name in ("figures", "figures-data"):
        assert client.get(reverse(name)).status_code == Client().get(reverse(name)).status_code == 302
    type(person).objects.filter(pk=person.pk).update(is_staff=True)
    assert reverse("figures") in client.get(reverse("admin:index")).content.decode()
    page: Any = client.get(reverse("figures"))
    assert page.status_code == 200 and "<script>" not in page.content.decode()
    answer = client.get(reverse("figures-data"))
    assert answer.json()["outbox_pending"] == 1 and "no-store" in answer.headers["Cache-Control"]

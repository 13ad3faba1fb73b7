"""What a person on call sees of the outbox."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from events.topics import Topic
from outbox.lease import LOCK_NAME
from outbox.models import OutboxEvent, OutboxLease
from outbox.rows import measure_pending
from outbox.services import discard_dead_step
from tests.acceptance.processes import wait_for
from tests.integration.outbox_support import (
    Thing,
    all_sent,
    assert_whole,
    commit_events,
    commit_rounds,
    connect,
    make_poller,
    make_publisher,
    make_redis,
    reading,
    record,
    running,
    thing_table,
    topic_limit,
)

pytestmark = pytest.mark.django_db(transaction=True)

URL = "/admin/outbox/outboxevent/"


@pytest.fixture
def client() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser(username="admin", password="correct horse battery"))
    # The sign-up is an event as well.
    OutboxEvent.objects.all().delete()
    return client


def test_rows_are_shown_by_state_with_their_error_and_cannot_be_changed(client: Client) -> None:
    """Unsent, retried, dead and sent; no form writes."""
    with thing_table():
        unsent, retried, dead, sent, discarded = commit_events(1, things=5)
    OutboxEvent.objects.filter(pk=discarded.pk).update(dead_at=timezone.now(), discarded_at=timezone.now())
    OutboxEvent.objects.filter(pk=retried.pk).update(attempts=1, last_error="first refusal")
    OutboxEvent.objects.filter(pk=dead.pk).update(attempts=10, last_error="last refusal", dead_at=timezone.now())
    OutboxEvent.objects.filter(pk=sent.pk).update(sent_at=timezone.now())
    shown = {
        state: {event.pk for event in client.get(URL, {"state": state} if state else {}).context["cl"].result_list}
        for state in ("", "unsent", "retried", "dead", "discarded", "sent")
    }
    assert shown == {
        "": {unsent.pk, retried.pk, dead.pk},
        "unsent": {unsent.pk, retried.pk},
        "retried": {retried.pk},
        "dead": {dead.pk},
        "discarded": {discarded.pk},
        "sent": {sent.pk},
    }
    page = client.get(URL).content.decode()
    assert "last refusal" in page and "first refusal" in page
    assert client.get(f"{URL}{dead.pk}/change/").status_code == 200
    for path in ("add/", f"{dead.pk}/delete/"):
        assert client.post(URL + path).status_code == 403
    assert client.post(f"{URL}{dead.pk}/change/", {"attempts": 0}).status_code == 403


@pytest.fixture
def things() -> Iterator[None]:
    make_redis().delete(LOCK_NAME)
    with thing_table():
        yield


def decide(client: Client, action: str, *events: OutboxEvent, state: str = "", **more: str) -> str:
    """The page after an action on these rows."""
    form = {"action": action, "_selected_action": [event.pk for event in events], **more}
    return client.post(f"{URL}?state={state}", form, follow=True).content.decode()


def versions_with_a_large_one() -> list[OutboxEvent]:
    """Three versions of one thing, of which the second is larger than the topic will take."""
    thing, events = Thing.objects.create(), []
    for text in ("first", "x" * 5000, "third"):
        with transaction.atomic(durable=True):
            events.append(record(thing, text=text))
    return events


def test_what_was_too_large_is_sent_after_the_limit_was_raised_and_it_was_replayed(
    client: Client, things: None
) -> None:
    """Meanwhile it is dead, what follows it waits, everybody else flows; afterwards readers see all in order."""
    with reading() as reader, running(make_poller(max_attempts=2)):
        with topic_limit(Topic.MESSAGE_CREATED, 2000):
            events = versions_with_a_large_one()
            wait_for(lambda: OutboxEvent.objects.filter(dead_at__isnull=False).exists(), "the dead row")
            others = commit_events(2, things=2)
            reader.read_all({event.id for event in others})
            page = client.get(f"{URL}{events[1].pk}/change/").content.decode()
            assert "MSG_SIZE_TOO_LARGE" in page
        assert "Replayed: 1." in decide(client, "replay", events[1])
        reader.read_all({event.id for event in events})
        wait_for(all_sent, "the marks")
    assert_whole(reader.versions_seen(), [*events, *others])


def test_what_waited_behind_a_discarded_event_goes_on_without_it(client: Client, things: None) -> None:
    """After being asked whether one is sure."""
    first, large, third = versions_with_a_large_one()
    publisher = make_publisher(**{"message.max.bytes": 4000})
    with reading() as reader, running(make_poller(max_attempts=1, publisher=publisher)):
        wait_for(lambda: OutboxEvent.objects.filter(dead_at__isnull=False).exists(), "the dead row")
        assert "will never reach" in decide(client, "discard", large)
        assert OutboxEvent.objects.get(pk=large.pk).state == "dead"
        assert "Discarded: 1." in decide(client, "discard", large, sure="1")
        reader.read_all({first.id, third.id})
        wait_for(lambda: OutboxEvent.objects.get(pk=third.pk).state == "sent", "the mark")
        reader.read_to_end()
    assert reader.versions_seen()[first.subject] == [1, 3]
    assert measure_pending()[0] == 0


def test_who_decided_is_written_down(client: Client, things: None) -> None:
    """In the row's history, with the decision; a second decision finds nothing left to decide."""
    (dead,) = commit_events(1)
    OutboxEvent.objects.filter(pk=dead.pk).update(dead_at=timezone.now(), attempts=10)
    decide(client, "discard", dead, sure="1")
    assert "1 were not dead (any more)" in decide(client, "replay", dead, state="discarded")
    history = client.get(f"{URL}{dead.pk}/history/").content.decode()
    assert "Discarded." in history and "Replayed." not in history and "admin" in history


def waits_for_a_lock() -> bool:
    # Within a transaction the activity stays as it was seen first.
    with connect() as outside:
        waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        return outside.execute(waiting).rowcount > 0


def test_of_two_who_decide_at_once_the_second_finds_nothing_left(client: Client, things: None) -> None:
    """The row stays as the first one decided, and its history names nobody else."""
    (dead,) = commit_events(1)
    OutboxEvent.objects.filter(pk=dead.pk).update(dead_at=timezone.now(), attempts=10)
    with ThreadPoolExecutor(1) as second:
        with transaction.atomic():
            discard_dead_step([dead.pk])
            page = second.submit(decide, client, "replay", dead)
            wait_for(waits_for_a_lock, "the second one waits")
        assert "1 were not dead (any more)" in page.result(30)
        second.submit(lambda: connection.close()).result(30)
    assert OutboxEvent.objects.get(pk=dead.pk).state == "discarded"
    assert "Replayed." not in client.get(f"{URL}{dead.pk}/history/").content.decode()


def test_what_an_event_carries_is_escaped_and_shown_to_who_may_view_it_alone(client: Client, things: None) -> None:
    """It holds what people wrote."""
    with transaction.atomic():
        event = record(Thing.objects.create(), text="<script>alert(1)</script>")
    page = client.get(f"{URL}{event.pk}/change/").content.decode()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page and "<script>alert" not in page
    client.force_login(User.objects.create_user("clerk", is_staff=True))
    for path in ("", f"{event.pk}/change/", f"{event.pk}/history/"):
        assert client.get(URL + path).status_code == 403


MANY = """
    INSERT INTO outbox_outboxevent (id, aggregate_type, aggregate_id, version, type, subject, payload, topic, key,
        attempts, last_error, sent_at, dead_at, discarded_at)
    SELECT gen_random_uuid(), 'thing', n, 1, 'chat.room.created.v1', '', '{}', '', '', 0, '',
        CASE WHEN n > 20 THEN now() - make_interval(secs => n) END,
        CASE WHEN n <= 10 THEN now() END, CASE WHEN n <= 5 THEN now() END
    FROM generate_series(1, 20000) n
"""


@pytest.mark.parametrize("state", ["", "unsent", "retried", "dead", "discarded", "sent"])
def test_a_list_of_each_state_is_read_by_an_index(client: Client, state: str) -> None:
    """Also its counts: the table has millions of sent rows."""
    with connection.cursor() as cursor:
        cursor.execute(MANY)
        cursor.execute("ANALYZE outbox_outboxevent")
        with CaptureQueriesContext(connection) as queries:
            client.get(URL, {"state": state} if state else {})
        plans = []
        for query in queries:
            if 'FROM "outbox_outboxevent"' in query["sql"]:
                cursor.execute(f"EXPLAIN {query['sql']}")
                plans.append("\n".join(line for (line,) in cursor.fetchall()))
    assert plans
    assert [plan for plan in plans if "Seq Scan" in plan] == []


def test_no_list_asks_which_types_there_are(client: Client) -> None:
    """The code knows them; a DISTINCT would read the whole table."""
    with CaptureQueriesContext(connection) as queries:
        client.get(URL, {"type": "chat.room.created.v1"})
    assert [query["sql"] for query in queries if "DISTINCT" in query["sql"]] == []


def test_more_rows_than_a_form_may_have_fields_are_decided_at_once(client: Client, things: None) -> None:
    """After a limit that was wrong for a while."""
    commit_rounds(1, things=1_200)
    OutboxEvent.objects.update(dead_at=timezone.now())
    some = OutboxEvent.objects.all()[:100]
    asked = decide(client, "discard", *some, state="dead", select_across="1")
    assert "Discard 1200" in asked and asked.count("_selected_action") == 100
    assert "Discarded: 1200." in decide(client, "discard", *some, state="dead", select_across="1", sure="1200")


def test_who_discards_is_asked_again_when_more_have_died_meanwhile(client: Client, things: None) -> None:
    events = commit_events(1, things=2)
    OutboxEvent.objects.update(dead_at=timezone.now())
    assert "Discard 2" in decide(client, "discard", events[0], state="dead", select_across="1", sure="1")
    assert not OutboxEvent.objects.filter(discarded_at__isnull=False).exists()


def test_what_is_no_id_is_answered_in_words(client: Client, things: None) -> None:
    form = {"action": "replay", "_selected_action": "zzz"}
    assert "That is no id of an event." in client.post(URL, form, follow=True).content.decode()


def test_who_may_look_may_not_decide(client: Client, things: None) -> None:
    """Deciding is a permission of its own."""
    (dead,) = commit_events(1)
    OutboxEvent.objects.filter(pk=dead.pk).update(dead_at=timezone.now())
    clerk = User.objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="view_outboxevent"))
    client.force_login(clerk)
    for action in ("replay", "discard"):
        assert "You may look at events, but not replay or discard them." in decide(client, action, dead, sure="1")
    assert OutboxEvent.objects.get(pk=dead.pk).state == "dead"
    assert "Replay dead" not in client.get(URL).content.decode()
    clerk.user_permissions.add(Permission.objects.get(codename="decide_outboxevent"))
    assert "Replayed: 1." in decide(client, "replay", dead)


def test_the_lease_shows_its_holder_and_epoch(client: Client) -> None:
    """Who works, since which take-over."""
    OutboxLease.objects.create(epoch=7, holder="host:1:abcd")
    page = client.get("/admin/outbox/outboxlease/").content.decode()
    assert "host:1:abcd" in page and ">7<" in page and ">Yes.<" in page


def test_a_lease_that_is_not_renewed_is_shown_as_such(client: Client) -> None:
    """By its own life and the database's clock, in the list and on its page."""
    stale, young = timezone.now() - timedelta(seconds=45), timezone.now() - timedelta(seconds=15)
    lease = OutboxLease.objects.create(epoch=7, holder="host:1:abcd", life=30, renewed_at=stale)
    for path in ("", "1/change/"):
        assert "Hardly: it was not renewed" in client.get(f"/admin/outbox/outboxlease/{path}").content.decode()
    OutboxLease.objects.filter(pk=lease.pk).update(renewed_at=young)
    for path in ("", "1/change/"):
        assert ">Yes.<" in client.get(f"/admin/outbox/outboxlease/{path}").content.decode()

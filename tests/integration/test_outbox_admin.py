"""What a person on call sees of the outbox."""

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from outbox.models import OutboxEvent, OutboxLease
from tests.integration.outbox_support import commit_events, thing_table

pytestmark = pytest.mark.django_db(transaction=True)


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
        unsent, retried, dead, sent = commit_events(1, things=4)
    OutboxEvent.objects.filter(pk=retried.pk).update(attempts=1, last_error="first refusal")
    OutboxEvent.objects.filter(pk=dead.pk).update(attempts=10, last_error="last refusal", dead_at=timezone.now())
    OutboxEvent.objects.filter(pk=sent.pk).update(sent_at=timezone.now())
    url = "/admin/outbox/outboxevent/"
    shown = {
        state: {event.pk for event in client.get(url, {"state": state} if state else {}).context["cl"].result_list}
        for state in ("", "unsent", "retried", "dead", "sent")
    }
    assert shown == {
        "": {unsent.pk, retried.pk, dead.pk, sent.pk},
        "unsent": {unsent.pk, retried.pk},
        "retried": {retried.pk},
        "dead": {dead.pk},
        "sent": {sent.pk},
    }
    page = client.get(url).content.decode()
    assert "last refusal" in page and "first refusal" in page
    assert client.get(f"{url}{dead.pk}/change/").status_code == 200
    for path in ("add/", f"{dead.pk}/delete/"):
        assert client.post(url + path).status_code == 403
    assert client.post(f"{url}{dead.pk}/change/", {"attempts": 0}).status_code == 403


def test_the_lease_shows_its_holder_and_epoch(client: Client) -> None:
    """Who works, since which take-over."""
    OutboxLease.objects.create(epoch=7, holder="host:1:abcd")
    page = client.get("/admin/outbox/outboxlease/").content.decode()
    assert "host:1:abcd" in page and ">7<" in page

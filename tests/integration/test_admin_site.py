"""The admin's own doors do what the chat's do."""

from typing import Any

import pytest
from django.conf import settings as project
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.test import Client
from django.urls import reverse

from accounts.models import AccessChange, User
from rooms import services
from rooms.services import create_room, join_room
from tests.integration.people_support import PASSWORD

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _fast_passwords(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    cache.clear()


@pytest.fixture
def client() -> Client:
    user = User.objects.create_superuser(username="root", password=PASSWORD, email="root@example.org")
    client = Client()
    client.force_login(user)
    return client


def test_signing_out_of_the_admin_ends_the_sockets_of_the_session(client: Client) -> None:
    """Every web process is told, and finds the session gone."""
    key = client.cookies[project.SESSION_COOKIE_NAME].value
    client.post(reverse("admin:logout"))
    assert not Session.objects.filter(session_key=key).exists()
    assert AccessChange.objects.filter(reason="signed_out", room_id=None).exists()


def test_a_session_that_only_the_cache_knows_opens_no_admin(client: Client) -> None:
    """Redis may have been away when its person signed out."""
    assert client.get(reverse("admin:index")).status_code == 200
    Session.objects.all().delete()
    assert client.get(reverse("admin:index")).status_code == 302


def test_passwords_are_changed_where_that_voids_tokens_and_sockets(client: Client) -> None:
    answer = client.post(reverse("admin:password_change"), {"old_password": PASSWORD, "new_password1": "another one 7"})
    assert (answer.status_code, answer["Location"]) == (302, "/account")
    assert User.objects.get(username="root").check_password(PASSWORD)


@pytest.mark.parametrize("query", ["name__regex=(", "created_at__year=99999999999"])
def test_what_no_form_asks_is_a_bad_request(client: Client, query: str) -> None:
    assert client.get(f"/admin/rooms/room/?{query}").status_code == 400


def test_an_action_on_what_is_no_row_is_a_bad_request(client: Client) -> None:
    data = {"action": "deactivate", "_selected_action": "abc"}
    assert client.post(reverse("admin:accounts_user_changelist"), data).status_code == 400


def test_e_mail_addresses_cannot_be_spelled_out(client: Client) -> None:
    """Not even by who may list people: an address is shown to nobody."""
    assert client.get("/admin/accounts/user/?email__startswith=root").status_code == 400


def test_what_has_changed_under_a_form_is_told_on_its_page(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A member became the owner after the form was checked, and a room keeps its owner."""
    owner, member = (User.objects.create_user(username=name) for name in ("alice", "bob"))
    room = create_room(owner=owner, name="Chess", kind="public")
    join_room(room_id=room.pk, user=member)
    membership = room.memberships.get(user=member)
    lock = services.lock_rooms_step

    def lock_late(rooms: Any) -> None:
        room.memberships.filter(user=owner).update(role="member")
        room.memberships.filter(user=member).update(role="owner")
        lock(rooms)

    monkeypatch.setattr(services, "lock_rooms_step", lock_late)
    url = reverse("admin:rooms_membership_change", args=[membership.pk])
    answer = client.post(url, {"role": "moderator"}, follow=True)
    assert (answer.redirect_chain, answer.status_code) == ([(url, 302)], 200)
    assert "hand it over" in answer.content.decode()

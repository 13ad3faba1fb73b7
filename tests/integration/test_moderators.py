"""The staff role of moderators, and what nobody may look at unseen."""

from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.core.cache import cache
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from messaging.models import Message, Report
from rooms import services
from rooms.models import Room
from tests.integration.people_support import PASSWORD, make_person

# With real transactions: inside `TestCase` a step outside of one would pass unseen.
pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "only between us"


@pytest.fixture(autouse=True)
def _fast_passwords(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    cache.clear()


@pytest.fixture(autouse=True)
def _moderators(_fast_passwords: None) -> None:
    """The migration's group; tests with transactions empty all tables."""
    import_module("chatproject.migrations.0001_moderators").make_moderators(apps, None)


def staff(name: str, *permissions: str, group: str | None = None) -> Client:
    """The admin as somebody of the staff with these rights sees it."""
    user = User.objects.create_user(name, PASSWORD, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    if group:
        user.groups.add(Group.objects.get(name=group))
    client = Client()
    assert client.login(username=name, password=PASSWORD)
    return client


@pytest.fixture
def moderator() -> Client:
    return staff("moderator", group="Moderators")


def act(client: Client, action: str, *users: User) -> int:
    data = {"action": action, "_selected_action": [user.pk for user in users], "post": "yes"}
    return client.post(reverse("admin:accounts_user_changelist"), data).status_code


def private_room() -> tuple[Room, Message]:
    owner = make_person("alice")
    room = services.create_room(owner=owner, name="Theirs", kind="private")
    message = Message.objects.create(
        room=room, uid="0b4e7a0e-5f3e-4f0e-9a41-0d6f6a7d9a11", kind="message", epoch=1, partition=0, offset=1, seq=1,
        sender=owner, sender_name="alice", text=SECRET, time=timezone.now(),
    )  # fmt: skip
    return room, message


def test_a_moderator_looks_at_people_and_rooms(moderator: Client) -> None:
    """And changes neither in a form."""
    room, _ = private_room()
    for model, row in (("accounts_user", room.owner.pk), ("rooms_room", room.pk), ("rooms_membership", 0)):
        assert moderator.get(reverse(f"admin:{model}_changelist")).status_code == 200
        assert moderator.get(reverse(f"admin:{model}_add")).status_code == 403
        assert not row or moderator.post(reverse(f"admin:{model}_change", args=[row]), {"name": "x"}).status_code == 403
        assert not row or moderator.post(reverse(f"admin:{model}_delete", args=[row]), {"post": "y"}).status_code == 403


def test_a_moderator_deactivates_and_signs_out(moderator: Client) -> None:
    """And it is written down who did."""
    bob = make_person("bob")
    assert act(moderator, "sign_out", bob) == act(moderator, "deactivate", bob) == 302
    bob.refresh_from_db()
    assert (bob.is_active, bob.token_generation) == (False, 2)
    entries = LogEntry.objects.order_by("pk").values_list("user__username", "object_repr", "change_message")
    assert list(entries) == [("moderator", "bob", "Signed out everywhere."), ("moderator", "bob", "Deactivated.")]


@pytest.mark.parametrize("rights", [{"is_superuser": True}, {"is_staff": True}])
@pytest.mark.parametrize("action", ["deactivate", "sign_out", "delete_selected"])
def test_the_staff_s_accounts_are_for_superusers(rights: dict[str, bool], action: str) -> None:
    """Whatever permissions somebody of the staff has; one's own account too."""
    other = User.objects.create_user("other", PASSWORD, **rights)
    client = staff("staff", "change_user", "delete_user", "view_user", "add_user", "moderate_user")
    act(client, action, other, User.objects.get(username="staff"))
    assert User.objects.filter(is_active=True, token_generation=0).count() == 2


def test_nobody_of_the_staff_gives_rights_or_sets_passwords(moderator: Client) -> None:
    """Neither to themselves nor to anybody else, with all the permissions that a form could ask for."""
    alice, root = make_person("alice"), User.objects.create_superuser("root", PASSWORD)
    client = staff("staff", "change_user", "delete_user", "view_user", "add_user", "change_permission", "change_group")
    own = User.objects.get(username="staff")
    wish = {"is_active": "on", "is_staff": "on", "is_superuser": "on", "groups": [Group.objects.get().pk]}
    wish["user_permissions"] = [Permission.objects.get(codename="delete_room").pk]
    secret = {"password1": "another fine day", "password2": "another fine day", "usable_password": "true"}
    for user in (alice, root, own):
        client.post(reverse("admin:accounts_user_change", args=[user.pk]), wish)
        assert client.post(reverse("admin:auth_user_password_change", args=[user.pk]), secret).status_code == 403
        user.refresh_from_db()
        assert user.check_password(PASSWORD)
        assert user.is_superuser == (user == root) and user.is_staff == (user != alice)
        assert (not user.groups.exists() and not user.has_perm("rooms.delete_room")) or user == root
    client.post(reverse("admin:accounts_user_add"), {"username": "eve", "usable_password": "false", **wish})
    assert not User.objects.filter(username="eve", is_staff=True).exists()


def test_a_moderator_reads_no_messages(moderator: Client) -> None:
    """That takes the permission to view messages, which the role does not have."""
    room, message = private_room()
    pages = [reverse("admin:messaging_message_changelist") + f"?room__id__exact={room.pk}",
             reverse("admin:messaging_message_change", args=[message.pk]),
             reverse("admin:messaging_message_history", args=[message.pk])]  # fmt: skip
    for page in pages:
        answer = moderator.get(page)
        assert answer.status_code == 403 and SECRET not in answer.content.decode()
    assert "look (is recorded)" not in moderator.get(reverse("admin:rooms_room_changelist")).content.decode()
    assert not LogEntry.objects.exists()


def test_looking_at_messages_is_written_down() -> None:
    """Who looked at which room or message; the room's history shows it."""
    room, message = private_room()
    client = staff("reader", "view_message", "view_room")
    listed = client.get(reverse("admin:messaging_message_changelist"), {"room__id__exact": room.pk})
    shown = client.get(reverse("admin:messaging_message_change", args=[message.pk]))
    assert SECRET in listed.content.decode() and SECRET in shown.content.decode()
    looks = LogEntry.objects.order_by("pk").values_list("user__username", "object_id", "change_message")
    assert list(looks) == [
        ("reader", str(room.pk), "Looked at the messages."),
        ("reader", str(room.pk), f"Looked at the message {message.uid}."),
    ]
    assert "Looked at the messages." in client.get(reverse("admin:rooms_room_history", args=[room.pk])).content.decode()


@pytest.mark.parametrize("spelling", ["_2B{pk}", "{pk}_0A", "_20{pk}"])
def test_looking_is_written_down_under_every_spelling_of_the_address(spelling: str) -> None:
    """Django's admin unquotes what stands in the path, and PostgreSQL's number has more than one spelling."""
    _, message = private_room()
    client = staff("reader", "view_message", "view_room")
    shown = client.get(f"/admin/messaging/message/{spelling.format(pk=message.pk)}/change/", follow=True)
    assert (SECRET in shown.content.decode()) == LogEntry.objects.exists()


def test_a_moderator_reads_what_was_reported(moderator: Client) -> None:
    """On the report's own page, and that is written down too."""
    room, message = private_room()
    report = Report.objects.create(message=message, by=room.owner, reason="rude")
    assert SECRET not in moderator.get(reverse("admin:messaging_report_changelist")).content.decode()
    assert not LogEntry.objects.exists()
    shown = moderator.get(reverse("admin:messaging_report_change", args=[report.pk]))
    assert SECRET in shown.content.decode()
    assert LogEntry.objects.get().change_message == f"Looked at the reported message {message.uid}."


@pytest.mark.parametrize(
    "query",
    ["", "q=alice", "room__id__exact=0", "room__id__exact={room}&room__id__exact={room}",
     "room__id__exact=x", "room__id__exact=" + "9" * 5000, "kind__exact=message",
     "room__name=Theirs", "text__contains=us"],
)  # fmt: skip
def test_messages_are_shown_of_one_named_room_only(query: str) -> None:
    """No search goes through all rooms at once, or through a second one, since the act of looking would be nowhere."""
    room, _ = private_room()
    page = reverse("admin:messaging_message_changelist") + f"?{query.format(room=room.pk)}"
    answer = staff("reader", "view_message", "view_room").get(page)
    assert answer.status_code == 302 and not LogEntry.objects.exists()


def test_messages_cannot_be_written_in_the_admin() -> None:
    """Not even by a superuser."""
    _, message = private_room()
    User.objects.create_superuser("root", PASSWORD)
    client = Client()
    client.login(username="root", password=PASSWORD)
    for page in ("change", "delete"):
        url = reverse(f"admin:messaging_message_{page}", args=[message.pk])
        assert client.post(url, {"text": "else", "post": "yes"}).status_code == 403
    assert Message.objects.get().text == SECRET


def test_guesses_at_the_admin_s_door_are_counted() -> None:
    """Together with those at the REST door."""
    make_person("alice")
    client = Client()
    for _ in range(10):
        client.post(reverse("admin:login"), {"username": "alice", "password": "wrong"})
    User.objects.filter(username="alice").update(is_staff=True)
    answer = client.post(reverse("admin:login"), {"username": "alice", "password": PASSWORD})
    assert answer.status_code == 200 and "too often" in answer.content.decode()


def test_only_staff_signs_in_at_the_admin_s_door() -> None:
    """With the right password too."""
    make_person("alice")
    answer = Client().post(reverse("admin:login"), {"username": "alice", "password": PASSWORD})
    assert answer.status_code == 200 and "staff account" in answer.content.decode()

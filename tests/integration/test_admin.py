"""The admin: ordinary forms and lists, whose writes go through the same steps as everybody's."""

from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.urls import reverse

from accounts.auth import user_for_token
from accounts.errors import ChatError
from accounts.models import AccessChange, Erasure, User
from accounts.services import begin_erasure, deactivate_user
from accounts.tokens import issue_token
from outbox.models import OutboxEvent
from rooms import moderation, services
from rooms.models import Membership, ModerationEntry, Room
from tests.integration.people_support import PASSWORD, make_person, types_of

# With real transactions: inside `TestCase` a step outside of one would pass unseen.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _fast_passwords(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    cache.clear()


@pytest.fixture
def admin(_fast_passwords: None) -> Client:
    User.objects.create_superuser("root", PASSWORD)
    client = Client()
    client.login(username="ROOT", password=PASSWORD)
    return client


def post(client: Client, page: str, /, *args: Any, **data: Any) -> None:
    """Send a form of the admin, which is accepted: it redirects, and no transaction is left open."""
    response = client.post(reverse(f"admin:{page}", args=args), data)
    errors = response.context["errors"] if response.status_code == 200 and response.context else ""
    assert response.status_code == 302, errors
    assert not connection.in_atomic_block


def run_action(client: Client, model: str, action: str, *rows: Any) -> None:
    data = {"action": action, "_selected_action": [row.pk for row in rows], "post": "yes"}
    post(client, f"{model}_changelist", **data)


def test_adding_a_person(admin: Client) -> None:
    """Like a sign-up: row and event."""
    post(
        admin, "accounts_user_add", username="Zoë", usable_password="true", password1=PASSWORD, password2=PASSWORD
    )  # fmt: skip
    user = User.objects.get(username="Zoë")
    assert types_of(user) == ["user.created"] and user.username_key == "zoë"
    assert Client().login(username="ZOË", password=PASSWORD)


@pytest.mark.parametrize("username", ["ROOT", "...", "a b"])
def test_the_form_refuses_what_signing_up_refuses(admin: Client, username: str) -> None:
    """With a sentence at the field."""
    data = {"username": username, "usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}
    response = admin.post(reverse("admin:accounts_user_add"), data)
    assert response.status_code == 200 and "username" in response.context["adminform"].form.errors
    assert User.objects.count() == 1


def test_no_event_no_person(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The admin's transaction holds both."""

    def fail(**_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("accounts.services.record_event", fail)
    data = {"username": "zoe", "usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}
    with pytest.raises(ZeroDivisionError):
        admin.post(reverse("admin:accounts_user_add"), data)
    assert User.objects.count() == OutboxEvent.objects.count() == 1


def test_deactivating_in_the_form_voids_tokens(admin: Client) -> None:
    """And a user id never changes, whatever is sent."""
    user = make_person("alice")
    token, _ = issue_token(user)
    post(admin, "accounts_user_change", user.pk, username="mallory", is_staff="on")
    user.refresh_from_db()
    assert (user.username, user.is_active, user.is_staff) == ("alice", False, True)
    with pytest.raises(ChatError, match="deactivated"):
        user_for_token(token)
    assert types_of(user) == ["user.created", "access.changed"]


def test_other_changes_in_the_form_end_nothing(admin: Client) -> None:
    """Tokens stay good."""
    user = make_person("alice")
    post(admin, "accounts_user_change", user.pk, is_active="on", is_staff="on")
    user.refresh_from_db()
    assert user.is_staff and user.token_generation == 0 and not AccessChange.objects.exists()


def test_a_password_set_by_the_admin_ends_tokens_and_sessions(admin: Client) -> None:
    """The admin's own session stays when it is the admin's own password."""
    user = make_person("alice")
    token, _ = issue_token(user)
    for person in (user, User.objects.get(username="root")):
        data = {"password1": "another fine day", "password2": "another fine day", "usable_password": "true"}
        post(admin, "auth_user_password_change", person.pk, **data)
    with pytest.raises(ChatError):
        user_for_token(token)
    assert Client().login(username="alice", password="another fine day")
    assert SESSION_KEY in admin.session and admin.get(reverse("admin:index")).status_code == 200


def test_actions_on_people(admin: Client) -> None:
    """Sign out everywhere, deactivate."""
    alice, bob = make_person("alice"), make_person("bob")
    token, _ = issue_token(alice)
    run_action(admin, "accounts_user", "sign_out", alice)
    with pytest.raises(ChatError, match="void"):
        user_for_token(token)
    run_action(admin, "accounts_user", "deactivate", alice, bob)
    assert not User.objects.filter(username__in=["alice", "bob"], is_active=True).exists()
    reasons = AccessChange.objects.order_by("pk").values_list("user_id", "reason")
    assert list(reasons) == [(alice.pk, "signed_out"), (alice.pk, "deactivated"), (bob.pk, "deactivated")]


def test_nobody_is_deleted(admin: Client) -> None:
    """The id would be free for somebody else."""
    alice = make_person("alice")
    assert admin.post(reverse("admin:accounts_user_delete", args=[alice.pk]), {"post": "yes"}).status_code == 403
    run_action(admin, "accounts_user", "delete_selected", alice)
    assert User.objects.filter(username="alice").exists()


def test_who_is_deactivated_can_be_erased(admin: Client) -> None:
    """By somebody with the right; others are told why not."""
    alice, bob = make_person("alice"), make_person("bob")
    deactivate_user(user=alice)
    helper = User.objects.create_user("helper", PASSWORD, is_staff=True)
    helper.user_permissions.set(Permission.objects.filter(codename__in=["view_user", "change_user"]))
    other = Client()
    other.login(username="helper", password=PASSWORD)
    run_action(other, "accounts_user", "erase", alice)
    assert not Erasure.objects.exists()
    run = {"action": "erase", "_selected_action": [alice.pk, bob.pk]}
    page = admin.post(reverse("admin:accounts_user_changelist"), run, follow=True)
    assert [erasure.username for erasure in Erasure.objects.all()] == ["alice"]
    assert [message.message.partition(":")[0] for message in page.context["messages"]] == ["bob is still active"]


def test_who_was_erased_is_never_active_again(admin: Client) -> None:
    """Not even a superuser changes the account."""
    alice = make_person("alice")
    begin_erasure(user=alice)
    page = reverse("admin:accounts_user_change", args=[alice.pk])
    assert admin.get(page).status_code == 200
    assert admin.post(page, {"is_active": "on"}).status_code == 403
    alice.refresh_from_db()
    assert not alice.is_active


def test_a_room_that_was_handed_over_meanwhile_is_renamed_with_its_new_owner(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the list is told was read after the room was locked."""
    alice, bob = make_person("alice"), make_person("bob")
    room = services.create_room(owner=alice, name="Old", kind="private")
    services.add_member(room_id=room.pk, username="bob", by=alice)
    lock = services.lock_rooms_step

    def hand_over_and_lock(rooms: list[int]) -> None:
        moderation.set_role_step(Membership.objects.get(user=bob), "owner", by=alice)
        lock(rooms)

    monkeypatch.setattr("rooms.services.lock_rooms_step", hand_over_and_lock)
    post(admin, "rooms_room_change", room.pk, name="New")
    told = OutboxEvent.objects.filter(type="chat.room.updated.v1", aggregate_id=str(room.pk)).order_by("version").last()
    assert told is not None and (told.payload["name"], told.payload["owner"]) == ("New", "bob")


@pytest.mark.parametrize("given", [{}, {"room": "1"}, {"user": "1"}])
def test_a_ban_without_room_or_person_is_refused_at_the_field(admin: Client, given: dict[str, str]) -> None:
    response = admin.post(reverse("admin:rooms_ban_add"), given)
    assert response.status_code == 200
    assert {"room", "user"} & set(response.context["adminform"].form.errors)


def test_creating_and_renaming_a_room(admin: Client) -> None:
    """Like over REST: the owner is a member, the list and the room are told."""
    alice = make_person("alice")
    post(admin, "rooms_room_add", name=" Café ", kind="private", owner=alice.pk)
    room = Room.objects.get()
    assert (room.name, room.memberships.get().role) == ("Café", "owner")
    post(admin, "rooms_room_change", room.pk, name="New", kind="public")
    room.refresh_from_db()
    assert (room.name, room.kind) == ("New", "private")
    assert types_of(room) == ["room.created", "room.updated", "notice.created"]
    post(admin, "rooms_room_change", room.pk, name="New")
    assert len(types_of(room)) == 3


@pytest.mark.parametrize("data", [{"name": "a\u202eb", "kind": "public"}, {"name": "x", "kind": "direct"}])
def test_the_form_refuses_bad_rooms(admin: Client, data: dict[str, str]) -> None:
    """With a sentence at the field."""
    owner = User.objects.get().pk
    response = admin.post(reverse("admin:rooms_room_add"), {**data, "owner": owner})
    assert response.status_code == 200 and response.context["adminform"].form.errors
    assert not Room.objects.exists()


def test_deleting_rooms(admin: Client) -> None:
    """One by one and from the list, with their owners and members."""
    alice = make_person("alice")
    rooms = [services.create_room(owner=alice, name=str(number), kind="public") for number in range(3)]
    post(admin, "rooms_room_delete", rooms[0].pk, post="yes")
    run_action(admin, "rooms_room", "delete_selected", *rooms[1:])
    assert not Room.objects.exists()
    deleted = OutboxEvent.objects.filter(type="chat.room.deleted.v1").values_list("aggregate_id", flat=True)
    assert set(deleted) == {str(room.pk) for room in rooms}
    assert AccessChange.objects.filter(user_id=alice.pk, reason="deleted").count() == 3


def test_no_event_no_deletion(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the list too, which has no transaction of Django's: all of the selected, or none."""
    owner = User.objects.get()
    rooms = [services.create_room(owner=owner, name=str(number), kind="public") for number in range(2)]
    delete = services.delete_room_step

    def fail(room: Room, *, by: User) -> None:
        delete(room, by=by)
        if not Room.objects.filter(pk__in=[room.pk for room in rooms]).exists():
            raise ZeroDivisionError

    monkeypatch.setattr(services, "delete_room_step", fail)
    with pytest.raises(ZeroDivisionError):
        run_action(admin, "rooms_room", "delete_selected", *rooms)
    assert Room.objects.count() == 2 and not OutboxEvent.objects.filter(type="chat.room.deleted.v1").exists()


def test_members_are_added_and_removed(admin: Client) -> None:
    """Also to a public room; one by one and from the list. An owner stays."""
    alice, bob, carol = (make_person(name) for name in ("alice", "bob", "carol"))
    room = services.create_room(owner=alice, name="x", kind="private")
    for person in (bob, carol):
        post(admin, "rooms_membership_add", room=room.pk, user=person.pk)
    assert types_of(bob) == ["user.created", "access.changed"]
    post(admin, "rooms_membership_delete", room.memberships.get(user=bob).pk, post="yes")
    run_action(admin, "rooms_membership", "delete_selected", room.memberships.get(user=carol))
    assert [member.user for member in room.memberships.all()] == [alice]
    assert types_of(room) == ["room.created", *["notice.created"] * 4]
    reasons = AccessChange.objects.filter(room_id=room.pk).order_by("pk").values_list("user_id", "reason")
    assert list(reasons)[1:] == [(bob.pk, "added"), (carol.pk, "added"), (bob.pk, "kicked"), (carol.pk, "kicked")]
    owner = room.memberships.get()
    assert admin.post(reverse("admin:rooms_membership_delete", args=[owner.pk]), {"post": "yes"}).status_code == 403
    admin.post(
        reverse("admin:rooms_membership_changelist"),
        {"action": "delete_selected", "_selected_action": [owner.pk], "post": "yes"},
    )
    assert Membership.objects.filter(pk=owner.pk).exists()


def test_roles_and_mutes_in_the_form(admin: Client) -> None:
    """Through the same steps as over REST; an owner stays until there is another one."""
    alice, bob = make_person("alice"), make_person("bob")
    room = services.create_room(owner=alice, name="x", kind="public")
    services.join_room(room_id=room.pk, user=bob)
    hers, his = (room.memberships.get(user=user) for user in (alice, bob))
    post(admin, "rooms_membership_change", his.pk, role="member", muted_until_0="2099-01-01", muted_until_1="00:00")
    his.refresh_from_db()
    assert his.muted_until is not None
    response = admin.post(reverse("admin:rooms_membership_change", args=[hers.pk]), {"role": "member"})
    assert "role" in response.context["adminform"].form.errors
    post(admin, "rooms_membership_change", his.pk, role="owner")
    room.refresh_from_db()
    assert room.owner == bob and set(room.memberships.values_list("role", flat=True)) == {"owner", "moderator"}
    reasons = AccessChange.objects.filter(user_id=bob.pk).values_list("reason", flat=True)
    assert list(reasons.order_by("pk")) == ["added", "role", "role"]


def test_banning_and_lifting(admin: Client) -> None:
    """An owner cannot be banned from the own room."""
    alice, bob = make_person("alice"), make_person("bob")
    room = services.create_room(owner=alice, name="x", kind="public")
    services.join_room(room_id=room.pk, user=bob)
    post(admin, "rooms_ban_add", room=room.pk, user=bob.pk, reason="spam")
    ban = room.bans.get()
    assert (ban.user, ban.by and ban.by.username, ban.reason) == (bob, "root", "spam")
    assert [member.user for member in room.memberships.all()] == [alice]
    assert admin.post(reverse("admin:rooms_ban_add"), {"room": room.pk, "user": alice.pk}).status_code == 200
    run_action(admin, "rooms_ban", "delete_selected", ban)
    assert not room.bans.exists()


def test_the_moderation_log_is_read_only(admin: Client) -> None:
    """What the admin does stands in it too."""
    room = services.create_room(owner=make_person("alice"), name="x", kind="public")
    post(admin, "rooms_ban_add", room=room.pk, user=make_person("bob").pk)
    entry = ModerationEntry.objects.get()
    assert (entry.action, entry.actor, entry.subject) == ("ban", "root", "bob")
    page = admin.get(reverse("admin:rooms_moderationentry_changelist"), {"q": "bob", "action__exact": "ban"})
    assert page.status_code == 200 and "bob" in page.text
    assert admin.get(reverse("admin:rooms_moderationentry_change", args=[entry.pk])).status_code == 200
    for view, args in (("add", []), ("delete", [entry.pk])):
        assert admin.post(reverse(f"admin:rooms_moderationentry_{view}", args=args)).status_code == 403


@pytest.mark.parametrize("model", ["accounts_user", "rooms_room", "rooms_membership", "rooms_ban"])
def test_the_pages_open(admin: Client, model: str) -> None:
    """List, search and add."""
    services.create_room(owner=make_person("alice"), name="x", kind="public")
    assert admin.get(reverse(f"admin:{model}_changelist"), {"q": "a"}).status_code == 200
    assert admin.get(reverse(f"admin:{model}_add")).status_code == 200


@pytest.mark.parametrize(
    "page",
    [
        "accounts_user", "rooms_room", "rooms_membership", "messaging_message", "outbox_outboxevent",
        "events_deadletterdecision",
    ],
)  # fmt: skip
def test_a_nul_in_what_a_list_is_asked_for_is_refused(admin: Client, page: str) -> None:
    """PostgreSQL has no such text; the answer is 400, not a fault of the server."""
    for query in ("type", "kind", "role", "action", "username", "q"):
        assert admin.get(reverse(f"admin:{page}_changelist"), {query: "a\0b"}).status_code == 400

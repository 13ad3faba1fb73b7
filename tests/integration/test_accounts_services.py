"""What writes people: row and outbox row together, or neither."""

from functools import partial
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction

from accounts import services
from accounts.auth import user_for_token
from accounts.errors import ChatError, ErrorCode
from accounts.models import AccessChange, User
from accounts.services import register_user
from accounts.tokens import issue_token
from events.schemas import EventType
from outbox.models import OutboxEvent
from tests.integration.people_support import PASSWORD, at_once, events_of, make_person, types_of

pytestmark = pytest.mark.django_db(transaction=True)


def changes_of(user: User) -> list[tuple[int | None, str]]:
    return list(AccessChange.objects.filter(user_id=user.pk).order_by("pk").values_list("room_id", "reason"))


def test_signing_up_writes_the_person_and_the_event() -> None:
    """When the service returns, both are committed."""
    user = make_person("Alice")
    assert events_of(user) == [(1, "chat.user.created.v1", "chat.user.created", "Alice")]
    event = OutboxEvent.objects.get()
    assert event.payload["id"] == "Alice" and event.subject == "user/Alice"
    assert User.objects.get().check_password(PASSWORD)


def test_no_event_no_person(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be recorded has not happened."""

    def fail(**_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(services, "record_event", fail)
    with pytest.raises(ZeroDivisionError):
        make_person("alice")
    assert not User.objects.exists() and not OutboxEvent.objects.exists()


@pytest.mark.parametrize(
    "call",
    [
        partial(register_user, username="bob", password=PASSWORD),
        partial(services.register_programs, usernames=["bot1"]),
        partial(services.change_password, user=User(), old="", new=""),
        partial(services.set_password, user=User(), password=None),
        partial(services.end_session, user=User()),
        partial(services.sign_out_everywhere, user=User()),
        partial(services.deactivate_user, user=User()),
    ],
)
def test_a_service_refuses_a_transaction_of_somebody_else(call: partial[object]) -> None:
    """Otherwise "returned" would not mean "committed"."""
    with pytest.raises(RuntimeError, match="durable"), transaction.atomic():
        call()


@pytest.mark.parametrize(("first", "second"), [("alice", "ALICE"), ("straße", "STRASSE")])
def test_an_id_is_taken_without_regard_to_case(first: str, second: str) -> None:
    """The second person is told, and nothing is written."""
    make_person(first)
    with pytest.raises(ChatError) as refusal:
        make_person(second)
    assert refusal.value.code == ErrorCode.CONFLICT
    assert User.objects.count() == OutboxEvent.objects.count() == 1


def test_of_many_who_take_one_id_at_once_one_gets_it() -> None:
    """PostgreSQL decides; the others hear `conflict`."""
    results = at_once(partial(make_person, name) for name in ["alice", "Alice", "ALICE", "aLice", "alicE"])
    codes = [result.code for result in results if isinstance(result, ChatError)]
    assert codes == [ErrorCode.CONFLICT] * 4
    assert User.objects.count() == OutboxEvent.objects.count() == 1


@pytest.mark.parametrize(
    ("username", "password"), [("...", PASSWORD), ("alice", "short"), ("alice.miller", "alice.miller1")]
)
def test_bad_ids_and_passwords_are_refused(username: str, password: str) -> None:
    """With Django's validators."""
    with pytest.raises(ChatError) as refusal:
        register_user(username=username, password=password)
    assert refusal.value.code == ErrorCode.INVALID
    assert not User.objects.exists()


def test_managers_go_through_the_service() -> None:
    """`createsuperuser` too."""
    call_command("createsuperuser", "--noinput", "--username", "root")
    root = User.objects.get()
    assert root.is_staff and root.is_superuser and types_of(root) == ["user.created"]
    assert types_of(User.objects.create_user("bob", PASSWORD)) == ["user.created"]


def test_tokens_are_void_after_signing_out_everywhere() -> None:
    """Those of before; new ones are good."""
    user = make_person("alice")
    token, _ = issue_token(user)
    assert user_for_token(token) == user
    services.sign_out_everywhere(user=user)
    with pytest.raises(ChatError) as refusal:
        user_for_token(token)
    assert refusal.value.code == ErrorCode.UNAUTHENTICATED
    assert user_for_token(issue_token(user)[0]) == user
    assert changes_of(user) == [(None, "signed_out")]
    assert events_of(user)[1:] == [(2, "chat.access.changed.v1", "chat.room.notification", f"user.{user.pk}")]


def test_a_new_password_voids_tokens() -> None:
    """And the old password."""
    user = make_person("alice")
    token, _ = issue_token(user)
    services.change_password(user=user, old=PASSWORD, new="another fine day")
    with pytest.raises(ChatError):
        user_for_token(token)
    assert User.objects.get().check_password("another fine day")
    assert types_of(user) == ["user.created", "access.changed"]


def test_of_two_password_changes_at_once_the_second_needs_the_first() -> None:
    """Who knows only the old password cannot undo the change that shut him out."""
    make_person("alice")
    calls = [
        partial(services.change_password, user=User.objects.get(), old=PASSWORD, new=f"another fine day {n}")
        for n in range(4)
    ]
    results = at_once(calls)
    assert [result.code for result in results if result is not None] == [ErrorCode.FORBIDDEN] * 3


def test_a_deactivated_person_is_told_so_whatever_the_token() -> None:
    """Tokens of before and after."""
    user = make_person("alice")
    before, _ = issue_token(user)
    services.deactivate_user(user=user)
    for token in (before, issue_token(user)[0]):
        with pytest.raises(ChatError) as refusal:
            user_for_token(token)
        assert refusal.value.code == ErrorCode.FORBIDDEN
    assert changes_of(user) == [(None, "deactivated")]


def test_an_old_copy_of_a_person_writes_back_nothing_old() -> None:
    """Versions and generations only grow, whoever saves what was read before."""
    old_copy = make_person("alice")
    fresh = User.objects.get()
    services.sign_out_everywhere(user=fresh)
    services.deactivate_user(user=old_copy)
    row = User.objects.get()
    assert (row.version, row.token_generation, row.is_active) == (3, 2, False)
    assert [version for version, *_ in events_of(row)] == [1, 2, 3]


def test_create_users_writes_names_and_tokens(tmp_path: Path) -> None:
    """For nobody else to read."""
    file = tmp_path / "tokens"
    file.touch(mode=0o644)
    call_command("create_users", "--count", "3", "--tokens-file", str(file))
    lines = [line.split(" ") for line in file.read_text().splitlines()]
    assert [name for name, _ in lines] == ["bot1", "bot2", "bot3"]
    assert [user_for_token(token).username for _, token in lines] == ["bot1", "bot2", "bot3"]
    assert file.stat().st_mode & 0o777 == 0o600
    assert OutboxEvent.objects.filter(type=EventType.USER_CREATED).count() == 3


def test_create_users_may_be_repeated(tmp_path: Path) -> None:
    """Those that exist get new tokens."""
    for count in ("2", "4"):
        call_command("create_users", "--prefix", "x", "--count", count, "--tokens-file", str(tmp_path / "tokens"))
    tokens = [line.split(" ")[1] for line in (tmp_path / "tokens").read_text().splitlines()]
    assert [user_for_token(token).username for token in tokens] == ["x1", "x2", "x3", "x4"]
    assert User.objects.count() == OutboxEvent.objects.count() == 4


def test_create_users_hands_out_no_token_of_a_person(tmp_path: Path) -> None:
    """Somebody may have taken such a name; nothing is written then."""
    make_person("Bot2")
    with pytest.raises(CommandError, match="Bot2 is a person's account"):
        call_command("create_users", "--count", "3", "--tokens-file", str(tmp_path / "tokens"))
    assert User.objects.count() == 1 and not (tmp_path / "tokens").exists()


def test_create_users_explains_a_bad_prefix(tmp_path: Path) -> None:
    """Instead of a traceback."""
    with pytest.raises(CommandError, match="letters, digits"):
        call_command("create_users", "--prefix", "a b", "--count", "1", "--tokens-file", str(tmp_path / "tokens"))

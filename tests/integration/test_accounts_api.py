"""REST of accounts, as browsers and programs see it."""

from time import monotonic
from typing import Any

import pytest
from django.contrib.auth.hashers import MD5PasswordHasher
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.test import override_settings

from accounts import auth
from accounts.auth import session_is_alive
from accounts.errors import ChatError, ErrorCode
from accounts.known import KnownPeople
from accounts.models import AccessChange, User
from accounts.services import deactivate_user, register_programs, sign_out_everywhere
from accounts.tokens import issue_token
from tests.integration.people_support import PASSWORD, Door, at_once, make_person, refused, types_of

pytestmark = pytest.mark.django_db(transaction=True)
NEW_PASSWORD = "another fine day"
AWAY = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://127.0.0.1:1/0",
                    "OPTIONS": {"IGNORE_EXCEPTIONS": True}}}  # fmt: skip


@pytest.fixture(autouse=True)
def _fast_passwords(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    cache.clear()


def signed_in(username: str) -> Door:
    make_person(username)
    door = Door()
    door.sign_in(username)
    assert door.status == 200
    return door


def test_signing_up_signs_in() -> None:
    """201 with the person; the session is there, and so is the event."""
    door = Door()
    person = door.call("POST", "/users", {"id": "Zoë", "password": PASSWORD})
    assert door.status == 201
    assert (person["id"], person["staff"]) == ("Zoë", False) and person["created"].endswith("Z")
    assert door.get("/session")["user"] == person
    assert types_of(User.objects.get()) == ["user.created"]


def test_a_taken_id_is_a_conflict() -> None:
    """In whatever case it is written."""
    make_person("alice")
    door = Door()
    assert refused(door, door.call("POST", "/users", {"id": "ALICE", "password": PASSWORD})) == (409, "conflict")


@pytest.mark.parametrize(
    "body",
    [
        {"id": "...", "password": PASSWORD},
        {"id": "a" * 100, "password": PASSWORD},
        {"id": "alice"},
        {"id": "alice", "password": "short"},
        {"id": "a\0b", "password": PASSWORD},
        {"id": 5, "password": PASSWORD},
        [],
    ],
)
def test_bad_sign_ups_are_invalid(body: Any) -> None:
    """Each with a sentence that says why."""
    door = Door()
    assert refused(door, door.call("POST", "/users", body)) == (400, "invalid")
    assert not User.objects.exists()


@pytest.mark.parametrize(("method", "path"), [("POST", "/users"), ("POST", "/session")])
def test_what_sets_the_cookie_needs_the_csrf_token(method: str, path: str) -> None:
    """A foreign page must not sign anybody in as somebody else."""
    make_person("alice")
    door = Door()
    answer = door.call(method, path, {"id": "alice", "password": PASSWORD}, csrf=False)
    assert refused(door, answer) == (403, "forbidden")
    assert door.get("/session")["user"] is None


def test_signing_in_without_regard_to_case() -> None:
    """The answer has the id as it was chosen, and a CSRF token that works."""
    make_person("Alice")
    door = Door()
    answer = door.sign_in("aLICE")
    assert door.status == 200 and answer["user"]["id"] == "Alice"
    door.client.generic("DELETE", "/api/v1/session", headers={"X-CSRFToken": answer["csrf_token"]})
    assert door.get("/session")["user"] is None


@pytest.mark.parametrize("username", ["alice", "nobody", "al\0ice", "x" * 80])
def test_a_wrong_password_and_an_unknown_id_get_the_same_answer(username: str) -> None:
    """Nobody learns who is here."""
    make_person("alice")
    door = Door()
    answer = door.sign_in(username, "wrong")
    assert refused(door, answer) == (401, "unauthenticated")
    assert answer["detail"] == "The id or the password is wrong."


def test_an_unknown_id_costs_a_password_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the answer takes the same time; also for a program's account, which has no password."""
    hashed: list[str] = []

    def encode(self: MD5PasswordHasher, password: str, salt: str) -> str:
        hashed.append(password)
        return f"md5${salt}$0"

    make_person("alice")
    register_programs(usernames=["bot1"])
    monkeypatch.setattr(MD5PasswordHasher, "encode", encode)
    for username in ("alice", "nobody", "bot1"):
        hashed.clear()
        Door().sign_in(username, "wrong")
        assert len(hashed) == 1


def test_ten_failures_are_enough() -> None:
    """Then also the right password must wait; another person need not."""
    make_person("alice")
    make_person("bob")
    door = Door()
    for _ in range(10):
        assert refused(door, door.sign_in("Alice", "wrong")) == (401, "unauthenticated")
    answer = door.sign_in("alice")
    assert refused(door, answer) == (429, "rate_limited")
    assert 1 <= answer["retry_after"] <= 600
    assert door.sign_in("bob")["user"]["id"] == "bob"


def test_many_guesses_at_once_are_no_way_around() -> None:
    """An attempt counts from its start."""
    make_person("alice")

    def guess() -> tuple[int, str]:
        door = Door()
        return refused(door, door.sign_in("alice", "wrong"))

    results = at_once([guess] * 20)
    assert sorted(set(results)) == [(401, "unauthenticated"), (429, "rate_limited")]
    assert results.count((401, "unauthenticated")) == 10


def test_success_does_not_count_as_failure() -> None:
    """Somebody may sign in as often as she likes."""
    make_person("alice")
    assert [Door().sign_in("alice")["user"]["id"] for _ in range(12)] == ["alice"] * 12


@override_settings(CACHES=AWAY, SESSION_ENGINE="django.contrib.sessions.backends.db")
def test_without_redis_people_are_let_in() -> None:
    """Sessions are in PostgreSQL, and failures are counted by the process itself (`test_limits`)."""
    make_person("alice")
    assert Door().sign_in("alice")["user"]["id"] == "alice"


def test_a_deactivated_person_is_told_so_with_the_right_password_only() -> None:
    """Anybody else gets the usual answer."""
    deactivate_user(user=make_person("alice"))
    door = Door()
    assert refused(door, door.sign_in("alice")) == (403, "forbidden")
    assert refused(door, door.sign_in("alice", "wrong")) == (401, "unauthenticated")


@pytest.mark.parametrize(
    ("path", "username"), [("/session", "alice"), ("/users", "bob")], ids=["signing in", "signing up"]
)
def test_a_session_that_was_there_before_gets_another_key(path: str, username: str) -> None:
    """Who has planted a session in somebody's browser is not signed in with it, and finds it gone."""
    make_person("alice")
    door = Door()
    planted = door.client.session
    planted["planted"] = True
    planted.save()
    door.call("POST", path, {"id": username, "password": PASSWORD})
    assert door.client.session.session_key not in {None, planted.session_key}
    assert not session_is_alive(planted.session_key)
    other = Door()
    other.client.cookies["sessionid"] = planted.session_key
    assert other.get("/session")["user"] is None


def test_signing_out_here_leaves_the_other_sessions() -> None:
    """The session is gone, and sockets are told to look."""
    here, there = signed_in("alice"), Door()
    there.sign_in("alice")
    key = here.client.session.session_key
    assert session_is_alive(key)
    here.call("DELETE", "/session")
    assert here.status == 204 and not session_is_alive(key)
    assert here.get("/session")["user"] is None
    assert there.get("/session")["user"]["id"] == "alice"
    assert list(AccessChange.objects.values_list("room_id", "reason")) == [(None, "signed_out")]


def test_a_session_that_only_redis_still_knows_is_void() -> None:
    """Redis was away when its person signed out."""
    door = signed_in("alice")
    key = door.client.session.session_key
    Session.objects.filter(session_key=key).delete()
    assert door.client.session.exists(key)
    assert door.get("/session")["user"] is None
    assert refused(door, door.get("/rooms")) == (401, "unauthenticated")


def test_signing_out_everywhere_voids_sessions_and_tokens() -> None:
    """Here, there, and programs."""
    here, there = signed_in("alice"), Door()
    there.sign_in("alice")
    program = Door(token_of=User.objects.get())
    here.call("DELETE", "/sessions")
    assert here.status == 204
    assert here.get("/session")["user"] is there.get("/session")["user"] is None
    assert refused(program, program.get("/rooms")) == (401, "unauthenticated")


def test_a_new_password_keeps_this_session_only() -> None:
    """Other sessions and tokens end."""
    here, there = signed_in("alice"), Door()
    there.sign_in("alice")
    program = Door(token_of=User.objects.get())
    here.call("PUT", "/me/password", {"old": PASSWORD, "new": NEW_PASSWORD})
    assert here.status == 204
    assert here.get("/session")["user"]["id"] == "alice"
    assert there.get("/session")["user"] is None
    program.get("/rooms")
    assert program.status == 401
    assert there.sign_in("alice", NEW_PASSWORD)["user"]["id"] == "alice"


def test_a_program_changes_its_password_without_getting_a_cookie() -> None:
    """Its token ends; it asks for a new one."""
    program = Door(token_of=make_person("alice"))
    program.call("PUT", "/me/password", {"old": PASSWORD, "new": NEW_PASSWORD})
    assert program.status == 204 and not program.client.cookies


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("PUT", "/me/password", {"old": "wrong", "new": NEW_PASSWORD}), ("DELETE", "/me", {"password": "wrong"})],
)
def test_guessing_the_password_of_an_open_session_is_limited_too(method: str, path: str, body: Any) -> None:
    """Who found an open browser has not found the password."""
    door = signed_in("alice")
    answers = [refused(door, door.call(method, path, body)) for _ in range(11)]
    assert answers == [(403, "forbidden")] * 10 + [(429, "rate_limited")]


def test_a_weak_new_password_is_invalid() -> None:
    """And changes nothing."""
    door = signed_in("alice")
    assert refused(door, door.call("PUT", "/me/password", {"old": PASSWORD, "new": "12345678"})) == (400, "invalid")
    assert Door().sign_in("alice")["user"]["id"] == "alice"


def test_deactivating_oneself_ends_everything() -> None:
    """Sessions, tokens, and signing in again."""
    door = signed_in("alice")
    program = Door(token_of=User.objects.get())
    door.call("DELETE", "/me", {"password": PASSWORD})
    assert door.status == 204 and door.get("/session")["user"] is None
    assert refused(program, program.get("/rooms")) == (403, "forbidden")


def test_a_token_for_id_and_password_sets_no_cookie_and_needs_none() -> None:
    """Programs need only this call."""
    make_person("alice")
    door = Door()
    answer = door.call("POST", "/tokens", {"id": "ALICE", "password": PASSWORD, "days": 365}, csrf=False)
    assert door.status == 200 and not door.client.cookies
    assert set(answer) == {"token", "expires"}
    program = Door()
    program.headers = {"Authorization": f"Bearer {answer['token']}"}
    assert program.get("/session")["user"]["id"] == "alice"
    program.get("/rooms")
    assert program.status == 200


def test_a_token_for_whoever_is_signed_in() -> None:
    """With a body or without."""
    door = signed_in("alice")
    assert "token" in door.call("POST", "/tokens", {"days": 1})
    assert "token" in door.call("POST", "/tokens")
    assert refused(door, door.call("POST", "/tokens", csrf=False)) == (403, "forbidden")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, (401, "unauthenticated")),
        ({"id": "alice", "password": "wrong"}, (401, "unauthenticated")),
        ({"id": "alice", "password": PASSWORD, "days": 366}, (400, "invalid")),
        ({"id": "alice", "password": PASSWORD, "days": 0}, (400, "invalid")),
    ],
)
def test_no_token_for_others(body: Any, expected: tuple[int, str]) -> None:
    """Nor for more than a year."""
    make_person("alice")
    door = Door()
    assert refused(door, door.call("POST", "/tokens", body, csrf=False)) == expected


@pytest.mark.parametrize("token", ["x", "", "a.b.c", "é"])
def test_a_bad_token_is_not_made_good_by_a_cookie(token: str) -> None:
    """Who sends a token means that token."""
    door = signed_in("alice")
    door.headers = {"Authorization": f"Bearer {token}"}
    assert refused(door, door.get("/rooms")) == (401, "unauthenticated")


def test_nobody_is_told_to_sign_in_not_of_csrf() -> None:
    """401, on reading and on writing."""
    door = Door()
    assert refused(door, door.get("/rooms")) == (401, "unauthenticated")
    assert refused(door, door.call("POST", "/rooms", {"name": "x"}, csrf=False)) == (401, "unauthenticated")


def test_a_cookie_alone_writes_nothing() -> None:
    """CSRF is checked on each unsafe call."""
    door = signed_in("alice")
    assert refused(door, door.call("POST", "/rooms", {"name": "x"}, csrf=False)) == (403, "forbidden")
    door.call("POST", "/rooms", {"name": "x"})
    assert door.status == 201


def test_a_lone_surrogate_is_invalid() -> None:
    """JSON can spell what is no text; no traceback comes of it."""
    door = Door()
    make_person("alice")
    token = door.get("/session")["csrf_token"]
    for path in ("session", "users", "tokens"):
        response = door.client.post(
            f"/api/v1/{path}",
            b'{"id": "a\\ud800", "password": "p\\ud800ssword!"}',
            content_type="application/json",
            headers={"X-CSRFToken": token},
        )
        assert response.status_code == 400


def test_a_token_is_checked_without_a_query(django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hot path of programs: who calls was asked a moment ago, by a call or by a handshake."""
    now = monotonic()
    monkeypatch.setattr("accounts.known.monotonic", lambda: now)
    token, _ = issue_token(make_person("alice"))
    with django_assert_num_queries(1):
        first = auth.user_for_token(token)
    with django_assert_num_queries(0):
        second = auth.user_for_token(token)
    assert first == second and first is not second and second.username == "alice"


def test_people_who_come_together_are_asked_for_together(django_assert_num_queries: Any) -> None:
    """After an outage a thousand come back at once."""
    people = [make_person(name) for name in ("alice", "bob", "carol")]
    known, nobody = KnownPeople(max_age=60), 2**62
    known.get(people[0].pk)
    with django_assert_num_queries(1):
        found = known.get_many([*(person.pk for person in people), nobody])
    assert {pk: user.username for pk, user in found.items()} == {person.pk: person.username for person in people}
    with django_assert_num_queries(0):
        assert known.get_many([people[2].pk, nobody]).keys() == {people[2].pk}


def test_what_is_known_of_a_person_is_enough_for_every_call() -> None:
    """Also for one that needs the password, which is not kept in memory."""
    program = Door(token_of=make_person("alice"))
    program.get("/rooms")
    program.call("PUT", "/me/password", {"old": PASSWORD, "new": NEW_PASSWORD})
    assert program.status == 204
    assert Door().sign_in("alice", NEW_PASSWORD)["user"]["id"] == "alice"


@pytest.mark.parametrize(
    ("end", "code"),
    [(sign_out_everywhere, ErrorCode.UNAUTHENTICATED), (deactivate_user, ErrorCode.FORBIDDEN)],
)
def test_this_process_forgets_a_void_token_at_once(end: Any, code: ErrorCode) -> None:
    """The others do within 2 s."""
    user = make_person("alice")
    token, _ = issue_token(user)
    auth.user_for_token(token)
    end(user=user)
    with pytest.raises(ChatError) as refusal:
        auth.user_for_token(token)
    assert refusal.value.code == code


def test_another_process_believes_a_void_token_for_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is asked meanwhile: what is known is as old as its question, not as its last use."""
    clock = [100.0]
    monkeypatch.setattr("accounts.known.monotonic", lambda: clock[-1])
    user, known = make_person("alice"), KnownPeople()
    known.get(user.pk)
    sign_out_everywhere(user=user)
    generations = []
    for now in (100.5, 100.9, 101.0):
        clock.append(now)
        generations.append(known.get(user.pk).token_generation)
    assert generations == [0, 0, 1]


def test_only_so_many_people_are_known_at_once() -> None:
    """The longest known are forgotten, so that memory is bounded."""
    people = [make_person(name) for name in ("alice", "bob", "carol")]
    known = KnownPeople(max_age=60, max_people=2)
    for person in people:
        known.get(person.pk)
    User.objects.update(is_staff=True)
    assert [known.get(person.pk).is_staff for person in reversed(people)] == [False, False, True]

"""A forgotten password, from the address to the new one."""

import logging
import re
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core import mail
from django.core.cache import cache
from django.core.mail import EmailMessage
from django.db import connection
from django.test import Client

from accounts import services
from accounts.mail import Postman
from accounts.models import AccessChange, User
from tests.acceptance.processes import wait_for
from tests.integration.people_support import PASSWORD, Door, make_person, refused

pytestmark = pytest.mark.django_db(transaction=True)
NEW_PASSWORD = "another fine day"
ADDRESS = "Alice@example.org"
ASK = "/password-reset/"


@pytest.fixture(autouse=True)
def _fresh(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    cache.clear()


@pytest.fixture
def alice() -> User:
    user = make_person("alice")
    services.set_email(user=user, email=ADDRESS)
    return user


def ask(address: str, **headers: str) -> Any:
    return Client(headers=headers).post(ASK, {"email": address})


def sent(count: int = 1) -> list[EmailMessage]:
    wait_for(lambda: len(mail.outbox) >= count, f"{count} mails", deadline=10)
    return list(mail.outbox)


def link(message: EmailMessage) -> str:
    found = re.search(r"https?://[^/]+(/password-reset/\S+)", message.body)
    assert found is not None
    return found[1]


def open_link(path: str) -> tuple[Client, Any]:
    """A browser at the page that the link leads to."""
    browser = Client()
    return browser, browser.get(path, follow=True)


def choose(path: str, password: str = NEW_PASSWORD) -> Any:
    browser, page = open_link(path)
    words = {"new_password1": password, "new_password2": password}
    return browser.post(page.request["PATH_INFO"], words, follow=True)


def test_a_link_lets_its_reader_choose_a_new_password(alice: User) -> None:
    """Whoever was signed in is signed out, programs too."""
    program, session = Door(token_of=alice), Door()
    session.sign_in("alice")
    ask("alice@EXAMPLE.org")
    (message,) = sent()
    assert message.to == [ADDRESS]
    assert "The password is set" in choose(link(message)).content.decode()
    assert session.get("/session")["user"] is None
    assert refused(program, program.get("/rooms")) == (401, "unauthenticated")
    assert Door().sign_in("alice", NEW_PASSWORD)["user"]["id"] == "alice"
    assert (None, "signed_out") in AccessChange.objects.values_list("room_id", "reason")


@pytest.mark.parametrize("address", [ADDRESS, "nobody@example.org"])
def test_the_answer_is_the_same_for_an_unknown_address(
    alice: User, address: str, django_assert_num_queries: Any
) -> None:
    """And so is the work before it: no query."""
    with django_assert_num_queries(0):
        answer = ask(address)
    assert (answer.status_code, answer["Location"]) == (302, "/password-reset/sent")


def other_password(user: User) -> None:
    services.change_password(user=user, old=PASSWORD, new="a third fine day")


def another_address(user: User) -> None:
    services.set_email(user=user, email="elsewhere@example.org")


def use(user: User) -> None:
    choose(link(mail.outbox[0]))


@pytest.mark.parametrize(
    "act",
    [
        use,
        other_password,
        another_address,
        lambda user: services.sign_out_everywhere(user=user),
        lambda user: services.deactivate_user(user=user),
        lambda user: Door().sign_in("alice"),
    ],
)
def test_what_ends_a_link(alice: User, act: Callable[[User], object]) -> None:
    """Its use, another password, another address, signing out everywhere, deactivation, and signing in."""
    ask(ADDRESS)
    path = link(sent()[0])
    act(User.objects.get())
    password = User.objects.get().password
    assert "This link is void" in open_link(path)[1].content.decode()
    assert User.objects.get().password == password


def test_a_link_ends_with_time(alice: User, settings: Any) -> None:
    """An hour."""
    ask(ADDRESS)
    path = link(sent()[0])
    settings.PASSWORD_RESET_TIMEOUT = -1
    assert "This link is void" in open_link(path)[1].content.decode()


def test_of_two_who_have_the_link_open_the_first_one_has_it(alice: User) -> None:
    """The page of the other one was true when it was shown."""
    ask(ADDRESS)
    path = link(sent()[0])
    late, page = open_link(path)
    choose(path)
    words = {"new_password1": "too late a day", "new_password2": "too late a day"}
    assert "This link is void" in late.post(page.request["PATH_INFO"], words, follow=True).content.decode()
    assert User.objects.get().check_password(NEW_PASSWORD)


def test_a_weak_password_is_told_on_the_page(alice: User) -> None:
    """In the validators' words; the link stays good."""
    ask(ADDRESS)
    path = link(sent()[0])
    assert "too short" in choose(path, "abc").content.decode()
    assert "The password is set" in choose(path).content.decode()


def test_a_forged_host_is_refused(alice: User) -> None:
    """No mail leads there."""
    assert ask(ADDRESS, host="evil.example").status_code == 400
    ask(ADDRESS)
    assert "evil" not in sent()[0].body and len(mail.outbox) == 1


def test_links_lead_to_the_public_origin(alice: User, settings: Any) -> None:
    """Whatever host was asked, even where every host is allowed."""
    settings.PUBLIC_ORIGIN, settings.ALLOWED_HOSTS = "https://chat.example", ["*"]
    ask(ADDRESS, host="evil.example")
    assert "https://chat.example/password-reset/" in sent()[0].body and "evil" not in sent()[0].body


@pytest.mark.parametrize(("embedded", "sends"), [(False, True), (True, False)])
def test_without_an_origin_or_a_mail_server_nothing_is_offered(settings: Any, embedded: bool, sends: bool) -> None:
    """The page says whom to ask."""
    settings.EMBEDDED, settings.SENDS_MAIL = embedded, sends
    assert "sends no mail" in Client().get(ASK).content.decode()
    assert "sends no mail" in ask(ADDRESS).content.decode()


def test_asking_is_limited_for_an_address_and_for_a_client(alice: User) -> None:
    """Known or not."""
    for address in (ADDRESS, "nobody@example.org"):
        assert [ask(address).status_code for _ in range(4)] == [302] * 3 + [429]
    assert len(sent(3)) == 3
    assert [ask(f"{n}@example.org").status_code for n in range(13)] == [302] * 12 + [429]


def test_each_account_of_an_address_gets_its_link(alice: User) -> None:
    """Deactivated ones and programs do not."""
    for name in ("bob", "carol", "bot"):
        services.set_email(user=make_person(name), email=ADDRESS.lower())
    services.deactivate_user(user=User.objects.get(username="carol"))
    services.set_password(user=User.objects.get(username="bot"), password=None)
    ask(ADDRESS)
    assert sorted("alice" in message.body for message in sent(2)) == [False, True]
    assert "bob" in mail.outbox[1].body


@pytest.fixture
def deaf_server(settings: Any) -> Iterator[None]:
    """A mail server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = server.getsockname()
        settings.EMAIL_TIMEOUT = 0.2
        yield


def test_a_mail_server_that_hangs_holds_up_nobody(
    alice: User, deaf_server: None, caplog: pytest.LogCaptureFixture
) -> None:
    """The failure is logged, without the address."""
    with caplog.at_level(logging.ERROR):
        assert ask(ADDRESS).status_code == 302
        wait_for(lambda: "A mail was not sent" in caplog.text, "the failure is logged", deadline=10)
    assert "example.org" not in caplog.text.lower()


def test_mails_that_are_too_many_are_lost_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Memory is bounded while the mail server is slow."""
    postman = Postman(max_waiting=1)
    begun, go_on = [], socket.socketpair()

    def hold() -> list[EmailMessage]:
        begun.append(True)
        go_on[0].recv(1)
        return []

    postman.post(hold)
    wait_for(lambda: begun, "the first is being sent", deadline=10)
    postman.post(hold)
    postman.post(hold)
    go_on[1].send(b"xx")
    assert "Mails are lost" in caplog.text
    wait_for(lambda: len(begun) == 2, "the second is sent", deadline=10)
    for end in go_on:
        end.close()


def test_the_address_is_set_and_removed_with_the_password() -> None:
    """And nobody else is shown it."""
    make_person("alice")
    door = Door()
    door.sign_in("alice")
    assert door.get("/me")["email"] is None
    answer = door.call("PUT", "/me/email", {"email": f" {ADDRESS} ", "password": "wrong"})
    assert refused(door, answer) == (403, "forbidden")
    assert door.call("PUT", "/me/email", {"email": f" {ADDRESS} ", "password": PASSWORD})["email"] == ADDRESS
    assert door.get("/me")["email"] == ADDRESS
    assert "email" not in door.get("/session")["user"]
    assert door.call("PUT", "/me/email", {"email": None, "password": PASSWORD})["email"] is None


@pytest.mark.parametrize("email", ["alice", "a@b\n.org", "a\0@example.org", "x" * 250 + "@example.org", "a b@c.org"])
def test_what_is_no_address_is_invalid(email: str) -> None:
    """400, with a sentence."""
    make_person("alice")
    door = Door()
    door.sign_in("alice")
    assert refused(door, door.call("PUT", "/me/email", {"email": email, "password": PASSWORD})) == (400, "invalid")


def test_an_address_is_found_by_an_index(alice: User) -> None:
    """Also among a million accounts."""
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        plan = User.objects.with_email(ADDRESS).order_by().explain()
        cursor.execute("RESET enable_seqscan")
    assert "user_email" in plan

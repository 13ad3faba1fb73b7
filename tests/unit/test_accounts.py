"""User ids, tokens and error codes, as far as they need no database."""

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from accounts.errors import HTTP_STATUS, ErrorCode
from accounts.models import User, username_key, validate_username
from accounts.tokens import InvalidToken, TokenClaims, issue_token, read_token


@pytest.mark.parametrize(
    "username",
    ["a", "alice", "Al_ice-3.b", "김철수", "Ünïcödé", "अनिता", "ab" * 10, "..a", "٣", "क्षि", "erased", "erased-x"],
)
def test_user_ids_of_any_script(username: str) -> None:
    """1 to 20 letters or digits of any script, `_`, `.` and `-`."""
    validate_username(username)


@pytest.mark.parametrize(
    "username",
    [
        "",
        "a" * 21,
        ".",
        "...",
        "a b",
        "a\0",
        "a\n",
        "a/b",
        "a@b",
        "<b>",
        "a\u202eb",
        "a\u0301",
        "\ud800",
        "😀",
        "\u0301",
        "\u0303a",
        "a.\u0303",
        "_\u20dd",
        "a\ufe0f",
        "\u3164",
        "a\u034fb",
        "a\U000e0100",
        "erased-7",
        "Erased-12",
        "erased-\u0661",
    ],
)
def test_what_is_no_user_id(username: str) -> None:
    """Not only dots, no spaces, no signs that hide, composed form only."""
    with pytest.raises(ValidationError):
        validate_username(username)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Alice", "aLICE"), ("STRASSE", "straße"), ("é", "e\u0301"), ("ΣΊΣΥΦΟΣ", "σίσυφος"), ("ᾳ\u0301", "ᾴ")],
)
def test_user_ids_are_the_same_without_regard_to_case(one: str, other: str) -> None:
    """One person could pass for the other."""
    assert username_key(one) == username_key(other)


def test_a_new_person_is_named_in_composed_form() -> None:
    """The same letters, however they were typed, are the same name."""
    user = User.named("Jose\u0301")
    assert (user.username, user.username_key) == ("José", "josé")


def test_a_token_says_who_and_which_generation() -> None:
    """Nobody asks the database for that."""
    token, expires = issue_token(User(pk=7, token_generation=3), days=2)
    assert read_token(token) == TokenClaims(7, 3, int(expires.timestamp()))
    assert 47 < (expires - timezone.now()).total_seconds() / 3600 <= 48


def test_an_expired_token_is_void() -> None:
    """It is worth nothing from its last second on."""
    token, _ = issue_token(User(pk=7), days=-1)
    with pytest.raises(InvalidToken, match="expired"):
        read_token(token)


@pytest.mark.parametrize("token", ["", "x", "a:b:c", "eyJ1IjoxfQ:1:x", "\0", "é"])
def test_a_forged_token_is_void(token: str) -> None:
    """Whatever it looks like."""
    with pytest.raises(InvalidToken):
        read_token(token)


def test_a_changed_token_is_void() -> None:
    """One letter is enough."""
    token, _ = issue_token(User(pk=7))
    changed = ("A" if token[3] != "A" else "B").join([token[:3], token[4:]])
    with pytest.raises(InvalidToken, match="no token of this server"):
        read_token(changed)


def test_every_error_code_has_its_status() -> None:
    """One set of codes for both doors."""
    assert set(HTTP_STATUS) == set(ErrorCode)
    assert ErrorCode.MUTED.http_status == 403 and ErrorCode.UNKNOWN.http_status == 504

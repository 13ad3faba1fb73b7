"""Tokens for programs and for links to a new password: signed, expiring, and void when the person's token generation
has moved on."""

from datetime import datetime, timedelta
from typing import NamedTuple

from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.core import signing
from django.utils import timezone

from accounts.models import User

SALT = "accounts.tokens"
DEFAULT_DAYS = 30
MAX_DAYS = 365


class InvalidToken(Exception):
    """Not a token of ours, or one that has expired."""


class TokenClaims(NamedTuple):
    user_id: int
    generation: int
    expires: int  # seconds since 1970


def issue_token(user: User, *, days: int = DEFAULT_DAYS) -> tuple[str, datetime]:
    """A token for `user` and the time when it expires."""
    expires = timezone.now() + timedelta(days=days)
    claims = {"u": user.pk, "g": user.token_generation, "e": int(expires.timestamp())}
    return signing.dumps(claims, salt=SALT), expires


def read_token(token: str) -> TokenClaims:
    """What a token says, without asking the database. Raises `InvalidToken`."""
    try:
        claims = signing.loads(token, salt=SALT)
        user_id, generation, expires = claims["u"], claims["g"], claims["e"]
    except (signing.BadSignature, KeyError, TypeError, ValueError):
        raise InvalidToken("This is no token of this server.") from None
    if expires < timezone.now().timestamp():
        raise InvalidToken("The token has expired.")
    return TokenClaims(user_id, generation, expires)


class ResetTokens(PasswordResetTokenGenerator):
    """Void also after another password, sign-in or e-mail address, and after `PASSWORD_RESET_TIMEOUT`."""

    key_salt = "accounts.reset"

    def _make_hash_value(self, user: User, timestamp: int) -> str:
        return f"{super()._make_hash_value(user, timestamp)}:{user.token_generation}"


reset_tokens = ResetTokens()

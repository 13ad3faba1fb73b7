"""Who is calling: a session cookie, with CSRF protection on unsafe calls, or a bearer token."""

from contextlib import suppress

from django.core.cache import cache
from django.http import HttpRequest
from ninja.security import APIKeyCookie, HttpBearer
from ninja.utils import check_csrf

from accounts.errors import ChatError, ErrorCode
from accounts.models import User, username_key
from accounts.tokens import InvalidToken, read_token

# Failed sign-ins of an id from an address, and how long they count.
MAX_FAILURES = 10
FAILURE_WINDOW = 600  # seconds


class SessionCookie(APIKeyCookie):
    """Django's session. Ninja checks CSRF before it asks."""

    param_name = "sessionid"

    def authenticate(self, request: HttpRequest, key: str | None) -> User | None:
        user = request.user
        return user if isinstance(user, User) and user.is_active else None


class BearerToken(HttpBearer):
    def authenticate(self, request: HttpRequest, token: str) -> User:
        request.user = user_for_token(token)
        return request.user


# The token first: a program that sends one needs no CSRF token, whatever cookies it carries.
authenticated = [BearerToken(), SessionCookie(csrf=True)]


def user_for_token(token: str) -> User:
    """The person of a token. Raises `ChatError`: `unauthenticated` for a void token, `forbidden` for a deactivated
    account."""
    try:
        claims = read_token(token)
    except InvalidToken as error:
        raise ChatError(ErrorCode.UNAUTHENTICATED, str(error)) from None
    user = User.objects.filter(pk=claims.user_id).first()
    if user is not None and not user.is_active:
        raise ChatError(ErrorCode.FORBIDDEN, "The account is deactivated.")
    if user is None or user.token_generation != claims.generation:
        raise ChatError(ErrorCode.UNAUTHENTICATED, "The token is void; get a new one.")
    return user


def require_csrf(request: HttpRequest) -> None:
    """For calls that set the session cookie before there is one; raise `ChatError` `forbidden`."""
    if check_csrf(request) is not None:
        raise ChatError(ErrorCode.FORBIDDEN, "Send the CSRF token of GET /session as X-CSRFToken.")


def _failures_key(request: HttpRequest, username: str) -> str:
    return f"sign-in-failures:{request.META.get('REMOTE_ADDR', '')}:{username_key(username)[:80]}"


def require_patience(request: HttpRequest, username: str) -> None:
    """Raise `ChatError` `rate_limited` after too many failures for this id and address."""
    if (cache.get(_failures_key(request, username)) or 0) >= MAX_FAILURES:
        raise ChatError(ErrorCode.RATE_LIMITED, "Too many failed sign-ins; wait.", retry_after=FAILURE_WINDOW)


def note_failure(request: HttpRequest, username: str) -> None:
    """Count a failed sign-in. Without Redis nothing is counted; passwords are hashed slowly all the same."""
    key = _failures_key(request, username)
    if not cache.add(key, 1, FAILURE_WINDOW):
        # The key may have expired since, and without Redis there is none.
        with suppress(ValueError):
            cache.incr(key)

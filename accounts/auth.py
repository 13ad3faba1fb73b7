"""Who is calling: a session cookie, with CSRF protection on unsafe calls, or a bearer token."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.contrib.sessions.models import Session
from django.http import HttpRequest
from django.utils import timezone
from ninja.security import APIKeyCookie, HttpBearer
from ninja.utils import check_csrf

from accounts.errors import ChatError, ErrorCode
from accounts.known import known_people
from accounts.limits import give_back, network_of, require, require_address, require_here
from accounts.models import User, username_key
from accounts.tokens import InvalidToken, TokenClaims, read_token
from accounts.turns import hashing


class SessionCookie(APIKeyCookie):
    """Django's session. CSRF is checked here, after the question who is there: nobody is told of a token, but to sign
    in."""

    param_name = settings.SESSION_COOKIE_NAME

    def __init__(self) -> None:
        super().__init__(csrf=False)

    def authenticate(self, request: HttpRequest, key: str | None) -> User | None:
        user, session_key = request.user, request.session.session_key
        if not isinstance(user, User) or session_key is None or not session_is_alive(session_key):
            return None
        require_csrf(request)
        require_here("calls", user.pk)
        return user


class BearerToken(HttpBearer):
    def authenticate(self, request: HttpRequest, token: str) -> User:
        request.user = user = user_for_token(token)
        require_here("calls", user.pk)
        return user


# The token first: a program that sends one needs no CSRF token, whatever cookies it carries.
authenticated = [BearerToken(), SessionCookie()]


def caller(request: HttpRequest) -> User:
    """Who calls, where one of the ways above has been taken; raise `ChatError` `unauthenticated` for nobody."""
    if not isinstance(request.user, User):
        raise ChatError(ErrorCode.UNAUTHENTICATED, "Sign in, or send a valid token.")
    return request.user


def user_for_token(token: str) -> User:
    """The person of a token, as the database had it a second ago at most. Raises `ChatError` as the two below."""
    claims = claims_of(token)
    return require_valid(claims, known_people.get(claims.user_id))


def claims_of(token: str) -> TokenClaims:
    """Raises `ChatError` `unauthenticated` for what is no token, or one that has expired."""
    try:
        return read_token(token)
    except InvalidToken as error:
        raise ChatError(ErrorCode.UNAUTHENTICATED, str(error)) from None


def require_valid(claims: TokenClaims, user: User | None) -> User:
    """The person whom a token names, where it still may. Raises `ChatError`: `unauthenticated` for a void token,
    `forbidden` for a deactivated account."""
    if user is not None and not user.is_active:
        raise ChatError(ErrorCode.FORBIDDEN, "The account is deactivated.")
    if user is None or user.token_generation != claims.generation:
        raise ChatError(ErrorCode.UNAUTHENTICATED, "The token is void; get a new one.")
    return user


def require_csrf(request: HttpRequest) -> None:
    """For calls that set the session cookie before there is one; raise `ChatError` `forbidden`."""
    if check_csrf(request) is not None:
        raise ChatError(ErrorCode.FORBIDDEN, "Send the CSRF token of GET /session as X-CSRFToken.")


def session_is_alive(session_key: str) -> bool:
    """Whether a session is still there and has not expired: it goes when its person signs out, here or everywhere. Asks
    the table, since a cache that was away when the session ended may know it still."""
    return Session.objects.filter(session_key=session_key, expire_date__gt=timezone.now()).exists()


def check_credentials(request: HttpRequest, username: str, password: str) -> User:
    """The person with this id and password. An unknown id and a wrong password get the same answer in the same time.

    Raises `ChatError` `unauthenticated`, `rate_limited`, and `forbidden` for a deactivated account, which only who
    knows its password is told.
    """
    with counted_attempt(request, username):
        user = User.objects.find(username)
        with hashing():
            is_right = user is not None and user.check_password(password)
            if user is None:
                # Nobody is to see from the time that there is nobody.
                make_password(password)
        if user is None or not is_right:
            raise ChatError(ErrorCode.UNAUTHENTICATED, "The id or the password is wrong.")
    if not user.is_active:
        raise ChatError(ErrorCode.FORBIDDEN, "The account is deactivated.")
    return user


def confirm_password(request: HttpRequest, user: User, password: str) -> None:
    """Raise `ChatError` `forbidden` unless this is the password of the person who calls; guesses count as failed
    sign-ins do (`rate_limited`)."""
    with counted_attempt(request, user.username):
        with hashing():
            is_right = user.check_password(password)
        if not is_right:
            raise ChatError(ErrorCode.FORBIDDEN, "The password is wrong.")


@contextmanager
def counted_attempt(request: HttpRequest, username: str) -> Iterator[None]:
    """Count an attempt from its start until it succeeds, so that many at once are no way around the limit. Raises
    `ChatError` `rate_limited`."""
    address = request.META.get("REMOTE_ADDR", "")
    # Whoever tries one id after the other is not stopped by what each id allows.
    require_address("sign_ins", address)
    who = f"{network_of(address)}:{username_key(username)[:80]}"
    require("sign_in_failures", who)
    yield
    give_back("sign_in_failures", who)

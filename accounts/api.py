"""REST: accounts, sessions and tokens."""

from typing import Any

from django.contrib import auth
from django.http import HttpRequest
from django.middleware.csrf import get_token
from ninja import Field, Router, Schema

from accounts import services
from accounts.auth import authenticated, note_failure, require_csrf, require_patience
from accounts.errors import ChatError, ErrorCode
from accounts.models import User
from accounts.tokens import DEFAULT_DAYS, MAX_DAYS, issue_token
from events.envelope import time_text

router = Router(tags=["accounts"])

BACKEND = "django.contrib.auth.backends.ModelBackend"


class Credentials(Schema):
    id: str = Field(max_length=80)
    password: str = Field(max_length=1024)


class TokenRequest(Schema):
    id: str | None = Field(None, max_length=80)
    password: str | None = Field(None, max_length=1024)
    days: int = Field(DEFAULT_DAYS, ge=1, le=MAX_DAYS)


class PasswordChange(Schema):
    old: str = Field(max_length=1024)
    new: str = Field(max_length=1024)


class Password(Schema):
    password: str = Field(max_length=1024)


def user_json(user: User) -> dict[str, Any]:
    return {"id": user.username, "created": time_text(user.created_at), "staff": user.is_staff}


@router.post("/users", response={201: dict[str, Any]}, auth=None)
def sign_up(request: HttpRequest, credentials: Credentials) -> tuple[int, dict[str, Any]]:
    """Make an account and sign in with it."""
    require_csrf(request)
    user = services.register_user(username=credentials.id, password=credentials.password)
    auth.login(request, user, backend=BACKEND)
    return 201, user_json(user)


@router.get("/session", auth=None)
def get_session(request: HttpRequest) -> dict[str, Any]:
    """Who is signed in here, and the CSRF token for unsafe calls."""
    user = request.user
    signed_in = isinstance(user, User) and user.is_active
    return {"user": user_json(user) if signed_in else None, "csrf_token": get_token(request)}


@router.post("/session", auth=None)
def sign_in(request: HttpRequest, credentials: Credentials) -> dict[str, Any]:
    """Sign in; the answer carries a new CSRF token."""
    require_csrf(request)
    user = _check_password(request, credentials.id, credentials.password)
    auth.login(request, user, backend=BACKEND)
    return {"user": user_json(user), "csrf_token": get_token(request)}


@router.delete("/session", response={204: None}, auth=authenticated)
def sign_out(request: HttpRequest) -> tuple[int, None]:
    """Sign out here."""
    auth.logout(request)
    return 204, None


@router.delete("/sessions", response={204: None}, auth=authenticated)
def sign_out_everywhere(request: HttpRequest) -> tuple[int, None]:
    """Sign out everywhere: all sessions and tokens become void."""
    services.sign_out_everywhere(user=_user(request))
    auth.logout(request)
    return 204, None


@router.put("/me/password", response={204: None}, auth=authenticated)
def change_password(request: HttpRequest, change: PasswordChange) -> tuple[int, None]:
    """Change the password; voids all tokens and other sessions and keeps this one."""
    user = _user(request)
    services.change_password(user=user, old=change.old, new=change.new)
    auth.update_session_auth_hash(request, user)
    return 204, None


@router.delete("/me", response={204: None}, auth=authenticated)
def deactivate(request: HttpRequest, confirmation: Password) -> tuple[int, None]:
    """Deactivate the account."""
    user = _user(request)
    if not user.check_password(confirmation.password):
        raise ChatError(ErrorCode.FORBIDDEN, "The password is wrong.")
    services.deactivate_user(user=user)
    auth.logout(request)
    return 204, None


@router.post("/tokens", auth=[*authenticated, lambda request: True])
def create_token(request: HttpRequest, wanted: TokenRequest) -> dict[str, Any]:
    """A token for a program: with id and password, or for who is signed in."""
    if wanted.id is not None and wanted.password is not None:
        user = _check_password(request, wanted.id, wanted.password)
    elif isinstance(request.user, User) and request.user.is_active:
        user = request.user
    else:
        raise ChatError(ErrorCode.UNAUTHENTICATED, "Give id and password, or sign in first.")
    token, expires = issue_token(user, days=wanted.days)
    return {"token": token, "expires": time_text(expires)}


def _check_password(request: HttpRequest, username: str, password: str) -> User:
    """The person; a wrong password and an unknown id get the same answer in the same time."""
    require_patience(request, username)
    user = auth.authenticate(request, username=username, password=password)
    if not isinstance(user, User):
        note_failure(request, username)
        raise ChatError(ErrorCode.UNAUTHENTICATED, "The id or the password is wrong.")
    return user


def _user(request: HttpRequest) -> User:
    user = request.user
    if not isinstance(user, User):
        raise ChatError(ErrorCode.UNAUTHENTICATED, "Sign in first.")
    return user

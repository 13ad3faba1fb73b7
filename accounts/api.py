"""REST: accounts, sessions and tokens."""

from django.contrib import auth
from django.http import HttpRequest
from django.middleware.csrf import get_token
from ninja import Field, Router, Schema, Status

from accounts import services
from accounts.auth import authenticated, caller, check_credentials, confirm_password, require_csrf
from accounts.bodies import Body
from accounts.errors import ChatError, ErrorCode
from accounts.limits import require_address
from accounts.models import User
from accounts.tokens import DEFAULT_DAYS, MAX_DAYS, issue_token
from events.envelope import time_text

router = Router(tags=["accounts"])

BACKEND = "django.contrib.auth.backends.ModelBackend"


class Credentials(Body):
    id: str = Field(max_length=80)
    password: str = Field(max_length=1024)


class TokenRequest(Body):
    id: str | None = Field(None, max_length=80)
    password: str | None = Field(None, max_length=1024)
    days: int = Field(DEFAULT_DAYS, ge=1, le=MAX_DAYS)


class PasswordChange(Body):
    old: str = Field(max_length=1024)
    new: str = Field(max_length=1024)


class Password(Body):
    password: str = Field(max_length=1024)


class EmailChange(Body):
    email: str | None = Field(max_length=320)
    password: str = Field(max_length=1024)


class Person(Schema):
    id: str
    created: str
    staff: bool


class Me(Person):
    """`email`: where links for a new password go; shown to nobody else."""

    email: str | None


class Session(Schema):
    user: Person | None
    csrf_token: str


class Token(Schema):
    token: str
    expires: str


@router.post("/users", response={201: Person}, auth=None)
def sign_up(request: HttpRequest, credentials: Credentials) -> Status[Person]:
    """Make an account and sign in with it."""
    require_csrf(request)
    require_address("sign_ups", request.META.get("REMOTE_ADDR", ""))
    user = services.register_user(username=credentials.id, password=credentials.password)
    auth.login(request, user, backend=BACKEND)
    return Status(201, _person(user))


@router.get("/session", response=Session, auth=None)
def get_session(request: HttpRequest) -> Session:
    """Who is signed in here, and the CSRF token for unsafe calls."""
    return Session(user=_person(caller(request)) if _is_signed_in(request) else None, csrf_token=get_token(request))


@router.post("/session", response=Session, auth=None)
def sign_in(request: HttpRequest, credentials: Credentials) -> Session:
    """Sign in; the answer carries a new CSRF token."""
    require_csrf(request)
    user = check_credentials(request, credentials.id, credentials.password)
    auth.login(request, user, backend=BACKEND)
    return Session(user=_person(user), csrf_token=get_token(request))


@router.delete("/session", response={204: None}, auth=authenticated)
def sign_out(request: HttpRequest) -> Status[None]:
    """Sign out here. A program has no session, and its token goes on."""
    user, had_session = caller(request), auth.SESSION_KEY in request.session
    auth.logout(request)
    if had_session:
        services.end_session(user=user)
    return Status(204, None)


@router.delete("/sessions", response={204: None}, auth=authenticated)
def sign_out_everywhere(request: HttpRequest) -> Status[None]:
    """Sign out everywhere: all sessions and tokens become void."""
    services.sign_out_everywhere(user=caller(request))
    auth.logout(request)
    return Status(204, None)


@router.get("/me", response=Me, auth=authenticated)
def get_me(request: HttpRequest) -> Me:
    """My account."""
    return _me(caller(request))


@router.put("/me/email", response=Me, auth=authenticated)
def set_email(request: HttpRequest, change: EmailChange) -> Me:
    """Set or remove the address to which a link for a new password is sent when I have forgotten mine."""
    user = caller(request)
    confirm_password(request, user, change.password)
    services.set_email(user=user, email=change.email)
    return _me(user)


@router.put("/me/password", response={204: None}, auth=authenticated)
def change_password(request: HttpRequest, change: PasswordChange) -> Status[None]:
    """Change the password; voids all tokens and other sessions and keeps this one."""
    user = caller(request)
    confirm_password(request, user, change.old)
    services.change_password(user=user, old=change.old, new=change.new)
    if auth.SESSION_KEY in request.session:
        auth.update_session_auth_hash(request, user)
    return Status(204, None)


@router.delete("/me", response={204: None}, auth=authenticated)
def deactivate(request: HttpRequest, confirmation: Password) -> Status[None]:
    """Deactivate the account."""
    user = caller(request)
    confirm_password(request, user, confirmation.password)
    services.deactivate_user(user=user)
    auth.logout(request)
    return Status(204, None)


@router.post("/tokens", response=Token, auth=None)
def create_token(request: HttpRequest, wanted: TokenRequest | None = None) -> Token:
    """A token for a program: with id and password, which sets no cookie and so needs no CSRF token, or for whoever is
    signed in."""
    wanted = wanted or TokenRequest.model_validate({})
    if wanted.id is not None and wanted.password is not None:
        user = check_credentials(request, wanted.id, wanted.password)
    else:
        if not _is_signed_in(request):
            raise ChatError(ErrorCode.UNAUTHENTICATED, "Give id and password, or sign in first.")
        user = caller(request)
    token, expires = issue_token(user, days=wanted.days)
    return Token(token=token, expires=time_text(expires))


def _is_signed_in(request: HttpRequest) -> bool:
    """Where calling without an account is fine too; a bad token is refused all the same."""
    return any(method(request) for method in authenticated)


def _person(user: User) -> Person:
    return Person(id=user.username, created=time_text(user.created_at), staff=user.is_staff)


def _me(user: User) -> Me:
    return Me(**_person(user).dict(), email=user.email or None)

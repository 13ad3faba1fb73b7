"""The use cases that write people. "Returned" means "committed"; the `…_step` functions serve the admin as well."""

from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Now

from accounts.errors import ChatError, ErrorCode
from accounts.known import known_people
from accounts.models import ERASED, AccessChange, Erasure, User, retired_key, username_key, validate_username
from accounts.tokens import reset_tokens
from accounts.turns import hashing
from events.envelope import time_text
from events.schemas import EventType
from events.topics import Topic
from outbox.services import record_event

KEPT = timedelta(days=1)  # of `AccessChange`, whose readers look back for a few minutes
# What an erasure changes in a person's row.
ERASED_FIELDS = (
    "username", "username_key", "email", "last_login", "is_active", "is_staff", "is_superuser", "password",
)  # fmt: skip


def register_user(*, username: str, password: str | None = None, **fields: Any) -> User:
    """Write a new person and the event of it. Without a password the account is for tokens only.

    Raises `ChatError` `invalid` for an id or password that the rules refuse, `conflict` when the id is taken, and
    `unavailable` while too many passwords are hashed.
    """
    user = User.named(username)
    for name, value in fields.items():
        setattr(user, name, value)
    _require_username(user.username)
    if password is not None:
        _require_password(password, user)
    # Ahead of the transaction: hashing takes a tenth of a second, in which no connection is held.
    with hashing():
        user.set_password(password)
    _write_user(user)
    return user


@transaction.atomic(durable=True)
def _write_user(user: User) -> None:
    try:
        with transaction.atomic():
            add_user_step(user)
    except IntegrityError:
        raise ChatError(ErrorCode.CONFLICT, "This user id is taken.") from None


@transaction.atomic(durable=True)
def register_programs(*, usernames: Sequence[str]) -> list[User]:
    """Write accounts for programs, which sign in by token; programs that exist are returned as they are.

    Raises `ChatError` `invalid`, and `conflict` for the account of a person, who has a password: whoever makes programs
    must not be handed a token of somebody else.
    """
    keys = [username_key(username) for username in usernames]
    known = {user.username_key: user for user in User.objects.filter(username_key__in=keys)}
    for key, username in zip(keys, usernames, strict=True):
        user = known.setdefault(key, User.named(username))
        if user.pk is None:
            _require_username(user.username)
            user.set_unusable_password()
            add_user_step(user)
        elif user.has_usable_password():
            raise ChatError(ErrorCode.CONFLICT, f"{user.username} is a person's account; take other names.")
    return [known[key] for key in keys]


@transaction.atomic(durable=True)
def change_password(*, user: User, old: str, new: str) -> None:
    """Set a new password and void all tokens and sessions. Raises `ChatError` `forbidden`, `invalid`."""
    # Of two changes at once the second must know the password that the first has set.
    user.refresh_from_db(from_queryset=User.objects.select_for_update(no_key=True))
    if not user.check_password(old):
        raise ChatError(ErrorCode.FORBIDDEN, "The old password is wrong.")
    _require_password(new, user)
    set_password_step(user, new)


@transaction.atomic(durable=True)
def set_password(*, user: User, password: str | None) -> None:
    """Set a password for somebody else (None: none, tokens only) and void all tokens and sessions."""
    set_password_step(user, password)


@transaction.atomic(durable=True)
def reset_password(*, user: User, token: str, password: str) -> None:
    """Set the password of a person who has got a link by mail, and void all tokens, sessions and other links. Raises
    `ChatError` `forbidden` for a link that is void, `invalid`."""
    # Of two with the same link the second must find it used.
    user.refresh_from_db(from_queryset=User.objects.select_for_update(no_key=True))
    if not user.is_active or not reset_tokens.check_token(user, token):
        raise ChatError(ErrorCode.FORBIDDEN, "The link is void; ask for another one.")
    _require_password(password, user)
    set_password_step(user, password)


@transaction.atomic(durable=True)
def set_email(*, user: User, email: str | None) -> None:
    """Set the address to which links for a new password go; None: there are none. Links that were sent before are
    void. Raises `ChatError` `invalid`."""
    user.email = _valid_email(email) if email else ""
    save_user_step(user, fields=["email"])


@transaction.atomic(durable=True)
def end_session(*, user: User) -> None:
    """Tell every web process that a session of a person has ended; call it when the session is gone. Tokens and other
    sessions stay: sockets look whether the session that they came with is still there."""
    record_access_change(user=user, room_id=None, reason="signed_out")


@transaction.atomic(durable=True)
def sign_out_everywhere(*, user: User) -> None:
    """Void all tokens and sessions of a person; the sockets close within 2 s."""
    _void_tokens(user)


@transaction.atomic(durable=True)
def deactivate_user(*, user: User) -> None:
    """Close an account without deleting what was said; the sockets close within 2 s."""
    user.is_active = False
    save_user_step(user, fields=["is_active"])


@transaction.atomic(durable=True)
def begin_erasure(*, user: User) -> None:
    """Close an account for good, take everything from it and its name, and note that the name is to be forgotten
    everywhere (`messaging.erasure` does). The row stays, named by a number; may be repeated."""
    user.refresh_from_db(from_queryset=User.objects.select_for_update(no_key=True))
    if user.is_erased:
        return
    Erasure.objects.create(user=user, username=user.username)
    user.username, user.username_key = f"{ERASED}{user.pk}", retired_key(user.username_key)
    user.email, user.last_login = "", None
    user.is_active = user.is_staff = user.is_superuser = False
    user.set_unusable_password()
    user.groups.clear()
    user.user_permissions.clear()
    save_user_step(user, fields=ERASED_FIELDS)


@transaction.atomic(durable=True)
def end_erasure(*, erasure: Erasure) -> None:
    """Forget the name itself."""
    erasure.delete()


# Steps, for the services above and for the admin, whose own transaction holds row and outbox row.


def user_state(user: User) -> dict[str, Any]:
    """A person as events tell it."""
    return {"id": user.username, "created": time_text(user.created_at)}


def add_user_step(user: User) -> None:
    """Raises `IntegrityError` for an id that is taken, `ChatError` `conflict` for one that was."""
    user.save(force_insert=True)
    # Behind the insertion, which waits for an erasure of this moment.
    if User.objects.filter(username_key=retired_key(user.username_key)).exists():
        raise ChatError(ErrorCode.CONFLICT, "This user id is taken.")
    record_event(
        aggregate=user, topic=Topic.USER_CREATED, key=user.username, type=EventType.USER_CREATED, data=user_state(user)
    )


def save_user_step(user: User, *, fields: Collection[str]) -> None:
    """Save the named fields of a person, and no others: `version` and `token_generation` of this instance may be old.
    One who may no longer sign in is signed out."""
    user.save(update_fields=list(fields))
    if "is_active" in fields and not user.is_active:
        _void_tokens(user, reason="deactivated")


def set_password_step(user: User, password: str | None) -> None:
    user.set_password(password)
    user.save(update_fields=["password"])
    _void_tokens(user)


def _void_tokens(user: User, *, reason: str = "signed_out") -> None:
    User.objects.filter(pk=user.pk).update(token_generation=F("token_generation") + 1)
    user.refresh_from_db(fields=["token_generation"])
    record_access_change(user=user, room_id=None, reason=reason)


def record_access_change(*, user: User, room_id: int | None, reason: str) -> None:
    """Tell every web process, in this transaction, to read the rights of a person again: by a row, which they look for
    once a second, and by an event, which is there in milliseconds."""
    record_access_event(user=user, room_id=room_id, reason=reason)
    record_access_rows([user], room_id=room_id, reason=reason)
    if room_id is None:
        # This process need not wait for its own word.
        transaction.on_commit(partial(known_people.forget, user.pk))


def record_access_event(*, user: User, room_id: int | None, reason: str) -> None:
    record_event(
        aggregate=user,
        topic=Topic.ROOM_NOTIFICATION,
        key=f"user.{user.pk}",
        type=EventType.ACCESS_CHANGED,
        data={"user_id": user.pk, "room": room_id, "reason": reason},
    )


def record_access_rows(users: Iterable[User], *, room_id: int | None, reason: str) -> None:
    """The rows alone, where many people are concerned. Write them last: they are looked for by their time, so a
    transaction that went on for long after them would hide them until nobody looks any more."""
    AccessChange.objects.bulk_create(AccessChange(user_id=user.pk, room_id=room_id, reason=reason) for user in users)


@transaction.atomic(durable=True)
def purge_access_changes(*, limit: int) -> None:
    """Delete the oldest rows of changes that everybody has read long ago."""
    old = AccessChange.objects.filter(created_at__lt=Now() - KEPT).order_by("created_at")
    # Of several processes at once each takes others.
    pks = list(old.select_for_update(skip_locked=True).values_list("pk", flat=True)[:limit])
    AccessChange.objects.filter(pk__in=pks).delete()


def _require_username(username: str) -> None:
    try:
        validate_username(username)
    except ValidationError as error:
        raise ChatError(ErrorCode.INVALID, " ".join(error.messages)) from None


def _valid_email(email: str) -> str:
    try:
        return str(User._meta.get_field("email").clean(email.strip(), None))
    except ValidationError:
        raise ChatError(ErrorCode.INVALID, "This is no e-mail address.") from None


def _require_password(password: str, user: User) -> None:
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise ChatError(ErrorCode.INVALID, " ".join(error.messages)) from None

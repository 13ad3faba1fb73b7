"""The use cases that write people. "Returned" means "committed"; the private steps serve the admin's own transaction."""

from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import F

from accounts.errors import ChatError, ErrorCode
from accounts.models import AccessChange, User, validate_username
from events.envelope import time_text
from events.schemas import EventType
from events.topics import Topic
from outbox.services import record_event


@transaction.atomic(durable=True)
def register_user(*, username: str, password: str | None = None, **fields: Any) -> User:
    """Write a new person and the event of it. Without a password the account is for tokens only.

    Raises `ChatError` `invalid` for an id or password that the rules refuse, `conflict` when the id is taken.
    """
    user = User.named(username)
    for name, value in fields.items():
        setattr(user, name, value)
    try:
        validate_username(user.username)
        if password is not None:
            validate_password(password, user)
    except ValidationError as error:
        raise ChatError(ErrorCode.INVALID, " ".join(error.messages)) from None
    user.set_password(password)
    try:
        with transaction.atomic():
            add_user_step(user)
    except IntegrityError:
        raise ChatError(ErrorCode.CONFLICT, "This user id is taken.") from None
    return user


@transaction.atomic(durable=True)
def register_programs(*, usernames: list[str]) -> list[User]:
    """Write accounts for programs, which sign in by token; those that exist are returned as they are."""
    users = []
    for username in usernames:
        known = User.objects.filter(username_key=User.named(username).username_key).first()
        if known is None:
            validate_username(username)
            known = User.named(username)
            known.set_unusable_password()
            add_user_step(known)
        users.append(known)
    return users


@transaction.atomic(durable=True)
def change_password(*, user: User, old: str, new: str) -> None:
    """Set a new password and void all tokens and other sessions. Raises `ChatError` `forbidden`, `invalid`."""
    if not user.check_password(old):
        raise ChatError(ErrorCode.FORBIDDEN, "The old password is wrong.")
    try:
        validate_password(new, user)
    except ValidationError as error:
        raise ChatError(ErrorCode.INVALID, " ".join(error.messages)) from None
    user.set_password(new)
    user.save(update_fields=["password"])
    _void_tokens(user)


@transaction.atomic(durable=True)
def sign_out_everywhere(*, user: User) -> None:
    """Void all tokens and sessions of a person; the sockets close within 2 s."""
    _void_tokens(user)


@transaction.atomic(durable=True)
def deactivate_user(*, user: User) -> None:
    """Close an account without deleting what was said; the sockets close within 2 s."""
    user.is_active = False
    save_user_step(user)


# Steps, for the services above and for the admin, whose own transaction holds row and outbox row.


def add_user_step(user: User) -> None:
    user.save(force_insert=True)
    data = {"id": user.username, "created": time_text(user.created_at)}
    record_event(aggregate=user, topic=Topic.USER_CREATED, key=user.username, type=EventType.USER_CREATED, data=data)


def save_user_step(user: User) -> None:
    """Save a changed person; one who may no longer sign in is signed out."""
    user.save()
    if not user.is_active:
        _void_tokens(user, reason="deactivated")


def delete_user_step(user: User) -> None:
    user.delete()


def _void_tokens(user: User, *, reason: str = "signed_out") -> None:
    User.objects.filter(pk=user.pk).update(token_generation=F("token_generation") + 1)
    user.refresh_from_db(fields=["token_generation"])
    record_access_change(user=user, room_id=None, reason=reason)


def record_access_change(*, user: User, room_id: int | None, reason: str) -> None:
    """Tell every web process, in this transaction, to read the rights of a person again: by a row, which they look for
    once a second, and by an event, which is there in milliseconds."""
    AccessChange.objects.create(user_id=user.pk, room_id=room_id, reason=reason)
    record_event(
        aggregate=user,
        topic=Topic.ROOM_NOTIFICATION,
        key=f"user.{user.pk}",
        type=EventType.ACCESS_CHANGED,
        data={"user_id": user.pk, "room": room_id, "reason": reason},
    )

"""People. Only `accounts.services` and its steps write these rows."""

import hashlib
import re
import unicodedata
from itertools import pairwise
from typing import Any, Self

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.functions import Now, Upper
from django.utils.crypto import salted_hmac

MAX_USERNAME = 20
# Letters and digits of any script; marks belong to the letters of many.
ALLOWED_SIGNS = frozenset("_.-")
# Letters and marks that nobody sees (of Unicode's Default_Ignorable_Code_Point): two ids would look the same.
IGNORABLE = re.compile(r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0\ufe00-\ufe0f\U000e0100-\U000e01ef]")
# What people are called who were erased, followed by a number; nobody may sign up so.
ERASED = "erased-"


def username_key(username: str) -> str:
    """The form in which user ids are compared: without regard to case (Unicode's canonical caseless matching)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", username).casefold())


def retired_key(key: str) -> str:
    """What stands in the place of the key of a person who was erased, so that nobody ever gets that id again. It says
    whether a given id was taken, and not which ones were."""
    return f"erased:{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()}"


def validate_username(username: str) -> None:
    """Raise `ValidationError` unless this is a user id: 1 to 20 letters or digits of any script, `_`, `.` and `-`."""
    if not 1 <= len(username) <= MAX_USERNAME:
        raise ValidationError(f"A user id has 1 to {MAX_USERNAME} characters.")
    if IGNORABLE.search(username):
        raise ValidationError("A user id has no invisible characters.")
    if not all(sign in ALLOWED_SIGNS or unicodedata.category(sign)[0] in "LNM" for sign in username):
        raise ValidationError("A user id has letters, digits, '_', '.' and '-' only.")
    # A mark belongs to what stands before it; alone it would sit on whatever the page shows there.
    kinds = [sign in ALLOWED_SIGNS or unicodedata.category(sign)[0] for sign in username]
    if any(kind == "M" and before in {True, ""} for before, kind in pairwise(["", *kinds])):
        raise ValidationError("A mark in a user id follows a letter or a digit.")
    if re.fullmatch(rf"{ERASED}\d+", username_key(username)):
        raise ValidationError("This user id is reserved.")
    if re.fullmatch(r"\.+", username):
        raise ValidationError("A user id is more than dots.")
    if unicodedata.normalize("NFC", username) != username:
        raise ValidationError("A user id is written in Unicode's composed form (NFC).")


class UserManager(BaseUserManager["User"]):
    def with_email(self, email: str) -> models.QuerySet["User"]:
        """Active people with this e-mail address, in whatever case it is written."""
        # Said so that the index serves it.
        return self.exclude(email="").filter(email__iexact=email, is_active=True).order_by("pk")

    def get_by_natural_key(self, username: str | None) -> "User":
        """Find a person without regard to case; this is how Django signs people in."""
        key = username_key(username or "")
        # Neither is in a user id. PostgreSQL refuses the very question with a NUL; a retired key must not be asked for,
        # since the answer would be what somebody was called who was erased.
        if "\0" in key or ":" in key:
            raise User.DoesNotExist
        return self.get(username_key=key)

    def find(self, username: str) -> "User | None":
        """The person with this id, without regard to case."""
        try:
            return self.get_by_natural_key(username)
        except User.DoesNotExist:
            return None

    def create_user(self, username: str, password: str | None = None, **fields: Any) -> "User":
        # The services import this module.
        from accounts.services import register_user

        return register_user(username=username, password=password, **fields)

    def create_superuser(self, username: str, password: str | None = None, **fields: Any) -> "User":
        return self.create_user(username, password, is_staff=True, is_superuser=True, **fields)


class User(AbstractBaseUser, PermissionsMixin):
    """A person or a program. `username` is the protocol's user id and never changes."""

    username = models.CharField("user id", max_length=MAX_USERNAME, unique=True, validators=[validate_username])
    username_key = models.CharField(max_length=80, unique=True, editable=False)
    # Only for a new password; shown to nobody else. Not unique: one person may have several accounts, and a refusal
    # would tell that somebody is here.
    email = models.EmailField("e-mail address", blank=True, default="", db_default="")
    is_active = models.BooleanField(default=True, help_text="Unset to deactivate the account.")
    is_staff = models.BooleanField("may use the admin", default=False)
    token_generation = models.IntegerField(
        default=0, editable=False, help_text="Tokens and sessions of an older generation are void."
    )
    version = models.BigIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = UserManager()

    USERNAME_FIELD = "username"

    class Meta:
        ordering = ["username_key"]
        permissions = [("moderate_user", "Can deactivate people and sign them out")]
        indexes = [models.Index(Upper("email"), name="user_email", condition=~models.Q(email=""))]

    def __str__(self) -> str:
        return self.username

    @property
    def is_erased(self) -> bool:
        return self.username_key.startswith("erased:")

    def clean(self) -> None:
        # A form whose field was refused leaves None here.
        self.username = unicodedata.normalize("NFC", self.username or "")
        self.username_key = username_key(self.username)
        keys = [self.username_key, retired_key(self.username_key)]
        taken = type(self).objects.filter(username_key__in=keys).exclude(pk=self.pk)
        if taken.exists():
            raise ValidationError({"username": "This user id is taken."})

    def _get_session_auth_hash(self, secret: str | bytes | None = None) -> str:
        """Sessions end with a password change, as Django's own do, and with signing out everywhere."""
        value = f"{self.password}:{self.token_generation}"
        return salted_hmac("accounts.session", value, secret=secret, algorithm="sha256").hexdigest()

    @classmethod
    def named(cls, username: str) -> Self:
        """A person who is not saved yet."""
        username = unicodedata.normalize("NFC", username)
        return cls(username=username, username_key=username_key(username))


class Erasure(models.Model):
    """Somebody who is being erased: what is stored is searched for the name, and when nothing is left and nothing can
    come any more, this row goes too. Only `accounts.services` writes these rows."""

    user = models.OneToOneField(User, on_delete=models.CASCADE)
    username = models.CharField(max_length=MAX_USERNAME, help_text="The name that is to be forgotten.")
    started_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"Erasure of {self.user}"


class AccessChange(models.Model):
    """Somebody's rights have changed. Written in the transaction that changes them, read once a second by each web
    process: this way reaches the sockets also while Kafka or the poller stands still. Only
    `accounts.services.record_access_change` writes these rows."""

    user_id = models.BigIntegerField()
    room_id = models.BigIntegerField(null=True, help_text="None: the account itself.")
    reason = models.CharField(max_length=20)
    created_at = models.DateTimeField(db_default=Now(), db_index=True)

    def __str__(self) -> str:
        return f"{self.reason}: user {self.user_id}, room {self.room_id}"

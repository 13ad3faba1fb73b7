"""Rooms and who is in them. Only `rooms.services` and its steps write these rows (`last_seq`: `messaging.storage`)."""

import unicodedata
from collections import defaultdict
from collections.abc import Collection
from typing import NamedTuple, Self

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Greatest, Now

from accounts.models import IGNORABLE, User

MAX_NAME = 80
MAX_REASON = 200
# Invisible, and needed: Persian and Indian scripts, and many emoji, are joined and parted by them.
JOINERS = "\u200c\u200d"
BLANK = "\u2800"  # of Braille: a letter without a dot
# Unicode's categories of what nobody sees (controls, the directions that forge a name) and of line ends.
HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def clean_name(name: str) -> str:
    """A room's name as it is stored: trimmed. Raise `ValidationError` unless it has 1 to 80 visible characters."""
    name = name.strip()
    if not 1 <= len(name) <= MAX_NAME:
        raise ValidationError(f"A room's name has 1 to {MAX_NAME} characters.")
    # Emoji need some of the ignorable ones, but a name has to have something else.
    seen = [sign for sign in name if sign not in JOINERS and sign != BLANK and not IGNORABLE.match(sign)]
    if not seen or any(unicodedata.category(sign) in HIDDEN for sign in seen):
        raise ValidationError("A room's name has visible characters only.")
    return name


def clean_reason(reason: str) -> str:
    """Why somebody acts, as it is stored: one line, trimmed, or nothing. Raise `ValidationError` for anything else."""
    reason = reason.strip()
    if len(reason) > MAX_REASON:
        raise ValidationError(f"A reason has at most {MAX_REASON} characters.")
    if any(unicodedata.category(sign) in HIDDEN for sign in reason if sign not in JOINERS):
        raise ValidationError("A reason is one line of visible characters.")
    return reason


class RoomQuerySet(models.QuerySet["Room"]):
    def visible_to(self, user: int) -> Self:
        """Rooms that the person with this pk may know of: public ones, and those the person is a member of."""
        mine = Membership.objects.filter(room=OuterRef("pk"), user_id=user)
        return self.filter(Q(kind=Room.Kind.PUBLIC) | Exists(mine))

    def readable_by(self, user: int) -> Self:
        """Rooms of which the person with this pk may read what was said: of the visible ones those that do not ban the
        person."""
        return self.visible_to(user).exclude(Exists(Ban.objects.of(user).filter(room=OuterRef("pk"))))

    def named_like(self, words: str, *, user: int) -> Self:
        """Rooms with these words in the name that the person with this pk sees: of a direct room the other's id."""
        named = ~Q(kind=Room.Kind.DIRECT) & Q(name__icontains=words)
        low = Q(direct_high_id=user, direct_low__username__icontains=words)
        high = Q(direct_low_id=user, direct_high__username__icontains=words)
        return self.filter(named | low | high)

    def direct_of(self, low: int, high: int) -> Self:
        """The direct room of two people."""
        return self.filter(direct_low_id=low, direct_high_id=high)


class Room(models.Model):
    """A place to chat."""

    class Kind(models.TextChoices):
        PUBLIC = "public"
        PRIVATE = "private"
        DIRECT = "direct"

    name = models.CharField(max_length=MAX_NAME, help_text="Of a direct room each side sees the other's id instead.")
    kind = models.CharField(max_length=7, choices=Kind.choices, default=Kind.PUBLIC)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="owned_rooms")
    version = models.BigIntegerField(default=0, editable=False)
    last_seq = models.BigIntegerField(
        default=0,
        editable=False,
        help_text="Number of people's messages that were stored; given by the event consumer.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    # The two people of a direct room, the one with the lower pk first; None of other rooms and of who was deleted.
    direct_low = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, editable=False, related_name="+"
    )
    direct_high = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, editable=False, related_name="+"
    )

    objects = RoomQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["direct_low", "direct_high"], name="one_direct_room_of_two")]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        self.name = clean_name(self.name)


class ReadMark(NamedTuple):
    """Up to which message (its `seq`) a member has read."""

    user_id: int
    room: int
    seq: int


class MembershipQuerySet(models.QuerySet["Membership"]):
    def read_marks(self) -> "models.QuerySet[Membership, tuple[int, int, int, int]]":
        """(user pk, room pk, number up to which nothing is unread, number of the newest message) of each."""
        marks = self.annotate(mark=Greatest("joined_seq", "read_seq"))
        return marks.values_list("user_id", "room_id", "mark", "room__last_seq")


class Membership(models.Model):
    """A person in a room. `read_seq`: up to where the person has read; nothing before `joined_seq` counts as unread."""

    class Role(models.TextChoices):
        OWNER = "owner"
        MODERATOR = "moderator"
        MEMBER = "member"

    room = models.ForeignKey(Room, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=9, choices=Role.choices, default=Role.MEMBER)
    joined_at = models.DateTimeField(auto_now_add=True)
    joined_seq = models.BigIntegerField(default=0, editable=False)
    read_seq = models.BigIntegerField(default=0, editable=False)
    muted_until = models.DateTimeField(null=True, blank=True)

    objects = MembershipQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["room", "user"], name="member_once"),
            models.UniqueConstraint(fields=["room"], condition=Q(role="owner"), name="one_owner_a_room"),
        ]

    def __str__(self) -> str:
        return f"{self.user} in {self.room}"


# Those who may act on what others say, except in direct rooms.
MODERATING = frozenset({Membership.Role.OWNER, Membership.Role.MODERATOR})


class BanQuerySet(models.QuerySet["Ban"]):
    def in_force(self) -> Self:
        """Bans that have not ended, by the database's clock."""
        return self.filter(Q(until=None) | Q(until__gt=Now()))

    def of(self, user: int) -> Self:
        """Bans in force of the person with this pk."""
        return self.in_force().filter(user_id=user)


class Ban(models.Model):
    """A person who may neither read nor enter a room: no member of it, as long as this is in force. Only
    `rooms.moderation` writes these rows."""

    room = models.ForeignKey(Room, on_delete=models.CASCADE, related_name="bans")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="bans")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    until = models.DateTimeField(null=True, blank=True, help_text="Empty: for ever.")
    reason = models.CharField(max_length=MAX_REASON, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    objects = BanQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["room", "user"], name="banned_once")]

    def __str__(self) -> str:
        return f"{self.user} from {self.room}"

    def clean(self) -> None:
        self.reason = clean_reason(self.reason)
        # A form that lacks one of them says so itself.
        if self.room_id is None or self.user_id is None:
            return
        if self.room.kind == Room.Kind.DIRECT or self.room.memberships.filter(user=self.user, role="owner").exists():
            raise ValidationError("Neither the owner of a room nor somebody in a direct room can be banned.")


class BlockQuerySet(models.QuerySet["Block"]):
    def between(self, one: User, other: User) -> Self:
        """Blocks of either by the other."""
        return self.filter(Q(user=one, blocked=other) | Q(user=other, blocked=one))

    def names(self, user: int) -> frozenset[str]:
        """The ids of those whom the person with this pk blocks."""
        return self.names_of([user]).get(user, frozenset())

    def names_of(self, users: Collection[int]) -> dict[int, frozenset[str]]:
        """The same of several people; who blocks nobody is left out."""
        names: defaultdict[int, set[str]] = defaultdict(set)
        for user, name in self.filter(user_id__in=users).values_list("user_id", "blocked__username"):
            names[user].add(name)
        return {user: frozenset(blocked) for user, blocked in names.items()}


class Block(models.Model):
    """`user` sees nothing that `blocked` says. Only `rooms.blocks` writes these rows."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="blocks")
    blocked = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(db_default=Now())

    objects = BlockQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "blocked"], name="blocked_once")]

    def __str__(self) -> str:
        return f"{self.user} blocks {self.blocked}"


class ModerationEntry(models.Model):
    """Somebody who leads a room, or storage in that person's name, has acted. Written in the transaction of the act by
    `rooms.moderation_log`, and never changed; people and rooms are named, since the entry outlives them."""

    class Action(models.TextChoices):
        ADD = "add"
        KICK = "kick"
        BAN = "ban"
        LIFT = "lift"
        MUTE = "mute"
        UNMUTE = "unmute"
        ROLE = "role"
        HAND_OVER = "hand_over"
        RENAME = "rename"
        DELETE_ROOM = "delete_room"
        DELETE_MESSAGE = "delete_message"
        REPORT = "report"

    action = models.CharField(max_length=14, choices=Action.choices)
    room = models.BigIntegerField(db_index=True)
    actor = models.CharField(max_length=20)
    subject = models.CharField(max_length=20, blank=True, help_text="The person acted on; empty: the room.")
    message = models.UUIDField(null=True)
    detail = models.CharField(max_length=MAX_NAME, blank=True, help_text="The new role or name, or the last name.")
    until = models.DateTimeField(null=True)
    reason = models.CharField(max_length=MAX_REASON, blank=True)
    created_at = models.DateTimeField(db_default=Now(), db_index=True)

    class Meta:
        verbose_name_plural = "moderation log"

    def __str__(self) -> str:
        return f"{self.actor}: {self.action} {self.subject} in room {self.room}"

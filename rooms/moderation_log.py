"""The moderation log: who did what to whom, in which room, and why."""

from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from rooms.models import ModerationEntry

Action = ModerationEntry.Action


def record_action(
    action: Action, *, room: int, actor: str, subject: str = "", message: UUID | None = None, detail: str = "",
    until: datetime | None = None, reason: str = "",
) -> None:  # fmt: skip
    """Write an entry in the transaction of the act; `actor` and `subject` are user ids. Raises outside of one."""
    if not transaction.get_connection().in_atomic_block:
        raise transaction.TransactionManagementError("An act and its entry belong into one transaction.")
    ModerationEntry.objects.create(
        action=action, room=room, actor=actor, subject=subject, message=message, detail=detail, until=until,
        reason=reason,
    )  # fmt: skip


def mute_in_force(room: int, username: str) -> datetime | None:
    """The end of the mute that somebody was given in a room, also as a former member: nobody shakes it off by leaving
    and coming back. None: there is none."""
    # Whoever the room was handed over to is not muted any more.
    deciding = [Action.MUTE, Action.UNMUTE, Action.HAND_OVER]
    entries = ModerationEntry.objects.filter(room=room, subject=username, action__in=deciding)
    until = entries.order_by("-pk").values_list("until", flat=True).first()
    return until if until is not None and until > timezone.now() else None


def rename_step(old: str, new: str) -> None:
    """Somebody is erased: the log says what was done, and neither to whom nor what others wrote about the person, nor
    what the person wrote in reports."""
    about = ModerationEntry.objects.filter(Q(subject=old) | Q(actor=old, action=Action.REPORT))
    about.exclude(reason="").update(reason="")
    ModerationEntry.objects.filter(subject=old).update(subject=new)
    ModerationEntry.objects.filter(actor=old).update(actor=new)

"""Telling those who lead a room of a message."""

from uuid import UUID

from django.db import transaction
from django.db.models import Q

from accounts.errors import ChatError, ErrorCode
from accounts.models import User
from messaging.models import Message, Report
from rooms.moderation_log import Action, record_action
from rooms.rights import require_reader, valid_reason


@transaction.atomic(durable=True)
def report_message(*, room_id: int, message: UUID, by: User, reason: str) -> None:
    """Report a message once: again changes nothing. Who may read the room may report. Raises `ChatError` `not_found`,
    `banned`, `invalid` without a reason."""
    require_reader(room_id, by.pk)
    reason = valid_reason(reason)
    if not reason:
        raise ChatError(ErrorCode.INVALID, "Say in a few words why the message should be looked at.")
    row = Message.objects.filter(room_id=room_id, uid=message, kind=Message.Kind.MESSAGE, deleted_at=None).first()
    if row is None:
        raise ChatError(ErrorCode.NOT_FOUND, "There is no such message in this room.")
    _, added = Report.objects.get_or_create(message=row, by=by, defaults={"reason": reason})
    if added:
        record_action(
            Action.REPORT, room=room_id, actor=by.username, subject=row.sender_name, message=row.uid, reason=reason
        )


def forget_reports_step(user: User) -> None:
    """By somebody who is erased, and of what the person said, which is empty."""
    Report.objects.filter(Q(by=user) | Q(message__sender=user.pk)).delete()

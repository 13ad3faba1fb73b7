"""Whom a person does not want to hear: what they say is hidden from that person alone."""

from django.db import transaction
from django.db.models import Q

from accounts.errors import ChatError, ErrorCode
from accounts.models import User
from accounts.services import record_access_change
from rooms.models import Block
from rooms.rights import find_person

# Each web process keeps the lists of its people in memory.
MAX_BLOCKS = 1000

# The reason of an access change that tells of another block list.
REASON = "blocks"


@transaction.atomic(durable=True)
def block_person(*, username: str, by: User) -> Block:
    """Hide from `by` what somebody says; may be repeated. Raises `ChatError` `not_found`, `invalid` with oneself,
    `conflict` when the list is full."""
    person = find_person(username)
    if person == by:
        raise ChatError(ErrorCode.INVALID, "You cannot block yourself.")
    if by.blocks.count() >= MAX_BLOCKS:
        raise ChatError(ErrorCode.CONFLICT, f"You block {MAX_BLOCKS} people; unblock somebody first.")
    block, added = Block.objects.select_related("blocked").get_or_create(user=by, blocked=person)
    if added:
        record_access_change(user=by, room_id=None, reason=REASON)
    return block


def forget_blocks_step(user: User) -> None:
    """Of somebody who is erased, and by those who blocked the person: nothing is said any more that could be hidden."""
    Block.objects.filter(Q(user=user) | Q(blocked=user)).delete()


@transaction.atomic(durable=True)
def unblock_person(*, username: str, by: User) -> None:
    """Show again what somebody says; may be repeated. Raises `ChatError` `not_found`."""
    deleted, _ = by.blocks.filter(blocked=find_person(username)).delete()
    if deleted:
        record_access_change(user=by, room_id=None, reason=REASON)

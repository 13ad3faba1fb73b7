"""Who may read and speak where: a cache in each web process, so that the hot path asks no database.

The cache is never stale beyond 2 s. Rights are invalidated by the records of `user.<pk>` (milliseconds), and by the
rows of `AccessChange`, which each process reads once a second: those also arrive while Kafka or the poller stands
still.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from time import monotonic
from typing import NamedTuple

from channels.db import database_sync_to_async
from django.db import DatabaseError, InterfaceError
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from accounts.errors import ChatError, ErrorCode
from accounts.known import known_people
from accounts.models import AccessChange, User
from messaging.batch_loader import BatchLoader
from messaging.database import GRACE, in_database
from rooms import blocks
from rooms.models import MODERATING, Block, Membership, Room
from rooms.rights import require_not_banned

logger = logging.getLogger(__name__)

POLL_INTERVAL = 1.0  # seconds between two looks at the AccessChange rows
# Ids are taken before commit, so a row may become visible after a younger one: each look goes back this far.
LOOK_BACK = timedelta(seconds=10)

# Whoever keeps the other threads busy must not hold up what takes rights away.
_watchers = ThreadPoolExecutor(1, "access-watch")

# The reason of a change that takes nothing away.
ADDED = "added"

# Called with the room (None: the account itself) and the reason of the change.
Listener = Callable[[int | None, str], None]


@dataclass(frozen=True, slots=True)
class RoomAccess:
    """The rights of a member in a room. `moderates`: also to act on what others say; nobody has that in a direct
    room."""

    role: str
    muted_until: datetime | None
    moderates: bool


class Account(NamedTuple):
    is_active: bool
    token_generation: int


class AccessCache:
    """The rights of the people of one web process; belongs to one event loop."""

    def __init__(self) -> None:
        # user pk → room pk → rights; absent: not asked yet, or invalidated.
        self._known: dict[int, dict[int, RoomAccess]] = {}
        # user pk → ids of those whom the person blocks; absent: not asked yet.
        self._blocks: dict[int, frozenset[str]] = {}
        # user pk → callbacks of that person's sockets.
        self._listeners: dict[int, set[Listener]] = {}
        self._invalidations = 0
        self._memberships: BatchLoader[tuple[int, int], RoomAccess] = BatchLoader(read_memberships)
        self._block_lists: BatchLoader[int, frozenset[str]] = BatchLoader(Block.objects.names_of)
        self._accounts: BatchLoader[int, Account] = BatchLoader(read_accounts)
        # Ids of AccessChange rows that were acted on, with their time; those older than LOOK_BACK are forgotten.
        self._seen: dict[int, datetime] = {}
        # Monotonic time of the last look that reached the database.
        self._looked_at = monotonic()

    def listen(self, user: int, listener: Listener) -> None:
        """Call `listener` whenever the rights of the person may have changed."""
        self._listeners.setdefault(user, set()).add(listener)

    def unlisten(self, user: int, listener: Listener) -> None:
        """End `listen`; with the last socket of a person what is known of the person goes too."""
        listeners = self._listeners.get(user, set())
        listeners.discard(listener)
        if not listeners:
            self._listeners.pop(user, None)
            self._known.pop(user, None)
            self._blocks.pop(user, None)

    def blocked(self, user: int) -> frozenset[str]:
        """The ids of those whom a person blocks, once `read_blocks` has been awaited on one of the person's sockets."""
        return self._blocks.get(user, frozenset())

    async def read_blocks(self, user: int, *, again: bool = False) -> None:
        """Read whom a person blocks unless it is known; `again`: also then. Until it is read, the former list holds."""
        while again or user not in self._blocks:
            invalidations = self._invalidations
            names = await self._block_lists.get(user) or frozenset()
            again = invalidations != self._invalidations  # it may be older than a change that was told meanwhile
            if user not in self._listeners:
                return
            self._blocks[user] = names

    async def require_member(self, user: int, room: int) -> RoomAccess:
        """Return the rights of a member; raise `ChatError` `not_member`, `banned`, `not_found` or, when the
        database has been away for too long, `unavailable`."""
        if monotonic() - self._looked_at > GRACE:
            raise ChatError(ErrorCode.UNAVAILABLE, "Rights cannot be checked at the moment.", retry_after=5)
        access = self._known.get(user, {}).get(room)
        if access is None:
            invalidations = self._invalidations
            access = await self._memberships.get((user, room))
            if access is None:
                raise await in_database(refusal)(user, room)
            # What was read may be older than an invalidation that came meanwhile; then it must not stay.
            if user in self._listeners and invalidations == self._invalidations:
                self._known.setdefault(user, {})[room] = access
        return access

    async def read_account(self, user: int) -> Account | None:
        """How the account of a person stands in the database; None when it is gone."""
        return await self._accounts.get(user)

    async def require_speaker(self, user: int, room: int) -> None:
        """Raise `ChatError` unless the person may send to the room now: also `muted`."""
        require_unmuted(await self.require_member(user, room))

    def invalidate(self, user: int, room: int | None, reason: str) -> None:
        """Forget the rights of a person in a room (None: everywhere) and tell the person's sockets. What is known of a
        member stays when it is told late that the person has become one, also while PostgreSQL is away."""
        if reason == blocks.REASON:
            self._invalidations += 1
        elif reason != ADDED:
            self._forget(user, room)
        if room is None:
            known_people.forget(user)
        for listener in tuple(self._listeners.get(user, ())):
            listener(room, reason)

    def _forget(self, user: int, room: int | None) -> None:
        self._invalidations += 1
        if room is None:
            self._known.pop(user, None)
        else:
            self._known.get(user, {}).pop(room, None)

    async def watch(self) -> None:
        """Read new AccessChange rows once a second, for ever; a failing database is logged once and tried again."""
        failing = False
        self._looked_at = monotonic()
        while True:
            try:
                changes = await database_sync_to_async(_recent_changes, thread_sensitive=False, executor=_watchers)()
            except (DatabaseError, InterfaceError) as error:
                if not failing:
                    logger.warning("Access changes cannot be read: %s", error)
                failing = True
            else:
                failing = False
                self._act_on(changes, since_last_look=monotonic() - self._looked_at)
                self._looked_at = monotonic()
            await asyncio.sleep(POLL_INTERVAL)

    def _act_on(self, changes: list[AccessChange], *, since_last_look: float) -> None:
        if since_last_look > LOOK_BACK.total_seconds() / 2:
            # Older rows than these were never seen; whatever they took away is found by reading all rights again.
            for user in list(self._listeners):
                self.invalidate(user, None, "kicked")
        for change in changes:
            if change.pk not in self._seen:
                self._seen[change.pk] = change.created_at
                self.invalidate(change.user_id, change.room_id, change.reason)
        if changes:
            horizon = max(change.created_at for change in changes) - 2 * LOOK_BACK
            self._seen = {pk: created_at for pk, created_at in self._seen.items() if created_at > horizon}


def require_unmuted(access: RoomAccess) -> None:
    """Raise `ChatError` `muted` while a member may only read."""
    if access.muted_until is not None and access.muted_until > timezone.now():
        wait = (access.muted_until - timezone.now()).total_seconds()
        raise ChatError(ErrorCode.MUTED, "You are muted in this room.", retry_after=max(1.0, wait))


def read_access(user: int, room: int) -> RoomAccess:
    """Read the rights of a member from PostgreSQL; raise `ChatError` `not_member`, `banned`, or `not_found` for a room
    that the person may not know of."""
    access = read_memberships([(user, room)]).get((user, room))
    if access is None:
        raise refusal(user, room)
    return access


def refusal(user: int, room: int) -> ChatError:
    """What somebody who is no member of a room is answered. Raises `ChatError` `banned`."""
    if Room.objects.filter(pk=room, kind=Room.Kind.PUBLIC).exists():
        require_not_banned(room, user)
        return ChatError(ErrorCode.NOT_MEMBER, "Join the room first: subscribe to it.")
    return ChatError(ErrorCode.NOT_FOUND, "There is no such room.")


def read_memberships(asked: Collection[tuple[int, int]]) -> dict[tuple[int, int], RoomAccess]:
    """The rights of those (user pk, room pk) that are members, with one query."""
    people: dict[int, list[int]] = {}
    for user, room in asked:
        people.setdefault(room, []).append(user)
    wanted = (Q(room_id=room, user_id__in=users) for room, users in people.items())
    rows = Membership.objects.filter(reduce(or_, wanted))
    return {
        (user, room): RoomAccess(role, muted_until, moderates=role in MODERATING and kind != Room.Kind.DIRECT)
        for user, room, role, muted_until, kind in rows.values_list(
            "user_id", "room_id", "role", "muted_until", "room__kind"
        )
    }


def read_accounts(users: Collection[int]) -> dict[int, Account]:
    """How accounts stand, by their pks."""
    rows = User.objects.filter(pk__in=users).values_list("pk", "is_active", "token_generation")
    return {pk: Account(is_active, generation) for pk, is_active, generation in rows}


def _recent_changes() -> list[AccessChange]:
    # By the database's clock, as the rows are: a web server's may differ.
    return list(AccessChange.objects.filter(created_at__gt=Now() - LOOK_BACK).order_by("pk"))

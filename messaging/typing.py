"""Who is typing: passed on to the room at once, kept nowhere, and not in large rooms."""

import logging
from collections import OrderedDict
from time import monotonic
from typing import Any

from kafka_layer import LayerError
from messaging.attendance import live_group
from messaging.database import in_database
from rooms.models import Membership
from rooms.services import MAX_ANNOUNCED_MEMBERS

logger = logging.getLogger(__name__)

PAUSE = 3.0  # seconds between two times that a person is passed on to a room by this process
SIZE_KEPT = 60.0  # seconds that a room's being large or not is taken for granted
MAX_KEPT = 10_000  # people in rooms, and rooms, that are remembered


class Typing:
    """What is too much is left out without an answer: a client sends it as long as somebody types.

    A room is large by its members, as for notices of members: PostgreSQL is asked once a minute and room where somebody
    types, and Redis not at all.
    """

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        # (room pk, username) → monotonic seconds when it was passed on; the oldest stands first.
        self._told: OrderedDict[tuple[int, str], float] = OrderedDict()
        # room pk → whether it is large, and until when that holds (monotonic seconds).
        self._sizes: OrderedDict[int, tuple[bool, float]] = OrderedDict()

    async def tell(self, room: int, user: str) -> None:
        """Tell the room that somebody who may speak there types. Ephemeral: what Kafka does not take is lost."""
        now = monotonic()
        if now - self._told.get((room, user), -PAUSE) < PAUSE:
            return
        # Before the question below: what comes meanwhile is too much already.
        _remember(self._told, (room, user), now)
        if await self._is_large(room):
            return
        try:
            await self._layer.group_send(live_group(room), {"type": "typing", "room": room, "user": user})
        except LayerError as error:
            logger.warning("That somebody types was not told: %s", error)

    async def _is_large(self, room: int) -> bool:
        large, until = self._sizes.get(room, (False, 0.0))
        if monotonic() >= until:
            members = Membership.objects.filter(room=room)[: MAX_ANNOUNCED_MEMBERS + 1]
            large = await in_database(members.count)() > MAX_ANNOUNCED_MEMBERS
            _remember(self._sizes, room, (large, monotonic() + SIZE_KEPT))
        return large


def _remember(kept: OrderedDict[Any, Any], key: object, value: object) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > MAX_KEPT:
        kept.popitem(last=False)

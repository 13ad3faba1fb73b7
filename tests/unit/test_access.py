"""What a web process knows of people's rights: kept, and forgotten, when somebody's rights may have changed."""

import pytest
from django.db import OperationalError

from messaging import access
from messaging.access import AccessCache, RoomAccess

ALICE, ROOM = 1, 12
MEMBER = RoomAccess(role="member", muted_until=None, moderates=False)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[RoomAccess]:
    """What PostgreSQL answers, in turn; after the last it is away."""
    answers: list[RoomAccess] = []

    def read_access(user: int, room: int) -> RoomAccess:
        if not answers:
            raise OperationalError("PostgreSQL is away.")
        return answers.pop(0)

    monkeypatch.setattr(access, "read_access", read_access)
    return answers


async def test_that_somebody_became_a_member_takes_no_known_right_away(answers: list[RoomAccess]) -> None:
    """The row that tells of it is read up to a second later, when PostgreSQL may be away."""
    cache = AccessCache()
    cache.listen(ALICE, lambda room, reason: None)
    answers.append(MEMBER)
    await cache.require_member(ALICE, ROOM)
    cache.invalidate(ALICE, ROOM, "added")
    assert await cache.require_member(ALICE, ROOM) == MEMBER


@pytest.mark.parametrize("room", [ROOM, None])
async def test_any_other_change_is_asked_of_postgresql(answers: list[RoomAccess], room: int | None) -> None:
    cache = AccessCache()
    cache.listen(ALICE, lambda room, reason: None)
    answers.append(MEMBER)
    await cache.require_member(ALICE, ROOM)
    cache.invalidate(ALICE, room, "kicked")
    with pytest.raises(OperationalError):
        await cache.require_member(ALICE, ROOM)

"""What a web process knows of people's rights: kept, and forgotten, when somebody's rights may have changed."""

import asyncio
from typing import Any

import pytest
from django.db import OperationalError

from messaging import access
from messaging.access import AccessCache, RoomAccess
from rooms.models import BlockQuerySet

ALICE, ROOM = 1, 12
MEMBER = RoomAccess(role="member", muted_until=None, moderates=False)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[RoomAccess]:
    """What PostgreSQL answers, in turn; after the last it is away."""
    answers: list[RoomAccess] = []

    def read_memberships(asked: Any) -> Any:
        if not answers:
            raise OperationalError("PostgreSQL is away.")
        return {(ALICE, ROOM): answers.pop(0)}

    monkeypatch.setattr(access, "read_memberships", read_memberships)
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


# Block lists


@pytest.fixture
def lists(monkeypatch: pytest.MonkeyPatch) -> list[frozenset[str]]:
    """The block lists that PostgreSQL answers with, in turn."""
    lists: list[frozenset[str]] = []
    monkeypatch.setattr(BlockQuerySet, "names_of", lambda *_: {ALICE: lists.pop(0)})
    monkeypatch.setattr(access.Block, "objects", BlockQuerySet(access.Block))
    return lists


async def test_a_block_list_is_read_once_and_again_when_it_has_changed(lists: list[frozenset[str]]) -> None:
    """Until it is read again, the former one holds: nothing of a blocked person slips through meanwhile."""
    cache = AccessCache()
    cache.listen(ALICE, lambda room, reason: None)
    lists += [frozenset({"bob"}), frozenset()]
    for _ in range(2):
        await cache.read_blocks(ALICE)
    cache.invalidate(ALICE, None, "blocks")
    assert cache.blocked(ALICE) == {"bob"}
    await cache.read_blocks(ALICE, again=True)
    assert cache.blocked(ALICE) == frozenset() and lists == []


async def test_a_block_list_that_changed_while_it_was_read_is_read_again(lists: list[frozenset[str]]) -> None:
    cache = AccessCache()
    cache.listen(ALICE, lambda room, reason: None)
    lists += [frozenset({"bob"}), frozenset({"bob", "carol"})]
    reading = asyncio.create_task(cache.read_blocks(ALICE))
    await asyncio.sleep(0)  # the question is put
    cache.invalidate(ALICE, None, "blocks")
    await reading
    assert cache.blocked(ALICE) == {"bob", "carol"} and lists == []


async def test_another_block_list_takes_no_known_right_away(answers: list[RoomAccess]) -> None:
    cache = AccessCache()
    cache.listen(ALICE, lambda room, reason: None)
    answers.append(MEMBER)
    await cache.require_member(ALICE, ROOM)
    cache.invalidate(ALICE, None, "blocks")
    assert await cache.require_member(ALICE, ROOM) == MEMBER

"""Rooms full of messages, made by PostgreSQL itself, and what it says about reading them."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection

from accounts.models import User
from rooms.models import Room

# Message number n of a room is the record at offset n * 10 of its log; the older half is of epoch 1, the newer of 2.
FILL = """
    INSERT INTO messaging_message
        (room_id, uid, kind, epoch, partition, "offset", seq, sender_id, sender_name, text, time)
    SELECT %(room)s, md5(%(room)s || '-' || n)::uuid, 'message', CASE WHEN n <= %(count)s / 2 THEN 1 ELSE 2 END,
        0, n * 10, n, %(sender)s, 'alice', 'This is message number ' || n || ', and it has fifty signs.',
        timestamptz '2026-01-01' + n * interval '1 second'
    FROM generate_series(%(first)s, %(last)s) AS n
"""
PART = 50_000  # rows in one statement, which has a time limit


def make_room(name: str = "Room") -> Room:
    """A room and its owner, without events."""
    owner, _ = User.objects.get_or_create(username="alice")
    return Room.objects.create(name=name, owner=owner)


def fill_room(room: Room, count: int) -> None:
    """Give an empty room `count` messages."""
    with connection.cursor() as cursor:
        for first in range(1, count + 1, PART):
            last = min(first + PART - 1, count)
            places = {"room": room.pk, "sender": room.owner_id, "count": count, "first": first, "last": last}
            cursor.execute(FILL, places)


def analyze() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE messaging_message")


@contextmanager
def explained() -> Iterator[list[dict[str, Any]]]:
    """The plans, with what was really read, of all queries within the block."""
    plans: list[dict[str, Any]] = []

    def explain(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        with connection.connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", params)
            answer = cursor.fetchone()[0]
        plans.append((json.loads(answer) if isinstance(answer, str) else answer)[0]["Plan"])
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        yield plans


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan's nodes, from the top."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)

"""Pages of a room's history: complete, in order, and read from the index however large the room is."""

from collections.abc import Callable

import pytest

from messaging.cursor import Cursor
from messaging.history import Page, newest_page, page_after, page_around, page_before
from rooms.models import Room
from tests.integration.history_support import analyze, explained, fill_room, make_room, nodes

pytestmark = pytest.mark.django_db
COUNT = 6000
STORED = Cursor(2, 0, COUNT * 10)


@pytest.fixture
def room() -> Room:
    """A large room among small ones."""
    for n in range(20):
        fill_room(make_room(f"Small {n}"), 20)
    room = make_room("Large")
    fill_room(room, COUNT)
    analyze()
    return room


def cursor_of(number: int) -> Cursor:
    return Cursor(1 if number <= COUNT // 2 else 2, 0, number * 10)


def numbers(page: Page) -> list[int]:
    return [row.seq for row in page.rows]


READS: dict[str, Callable[[int, Cursor], object]] = {
    "newest": lambda room, cursor: newest_page(room, limit=50, stored=STORED),
    "before": lambda room, cursor: page_before(room, cursor, limit=50),
    "after": lambda room, cursor: page_after(room, cursor, limit=50, stored=STORED),
    "around": lambda room, cursor: page_around(room, cursor, limit=50, stored=STORED),
}


@pytest.mark.parametrize("number", [1, COUNT // 2, COUNT // 2 + 1, COUNT])
@pytest.mark.parametrize("read", READS)
def test_a_page_is_one_query_that_reads_its_rows_from_the_index_and_no_others(
    room: Room, read: str, number: int
) -> None:
    """At the start, the end, and on both sides of a change of the epoch."""
    with explained() as plans:
        READS[read](room.pk, cursor_of(number))
    (plan,) = plans
    scans = [node for node in nodes(plan) if "Scan" in node["Node Type"] and node["Node Type"] != "Subquery Scan"]
    assert scans and {node.get("Index Name") for node in scans} == {"message_room_order"}
    assert all("Filter" not in node for node in scans), "Rows are read that the page does not show."
    assert sum(node["Actual Rows"] for node in scans) <= 52  # one more on each side tells whether there is more


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
def test_pages_in_both_directions_show_each_row_once(limit: int) -> None:
    """From the newest to the oldest, and back, across a change of the epoch."""
    room = make_room()
    fill_room(room, 101)
    page = newest_page(room.pk, limit=limit, stored=STORED)
    down = numbers(page)
    while page.before is not None:
        page = page_before(room.pk, page.before, limit=limit)
        down = numbers(page) + down
    assert down == list(range(1, 102))
    up = numbers(page)
    while page.after is not None:
        page = page_after(room.pk, page.after, limit=limit, stored=STORED)
        up += numbers(page)
    assert up == down and page.stored == STORED


@pytest.mark.parametrize("limit", [1, 2, 3, 10, 200])
@pytest.mark.parametrize("number", [1, 2, 30, 31, 59, 60])
def test_a_page_around_a_row_holds_it_and_its_neighbours(number: int, limit: int) -> None:
    """Its cursors lead on, in both directions, to what it does not hold."""
    room = make_room()
    fill_room(room, 60)
    middle = Cursor(1 if number <= 30 else 2, 0, number * 10)
    page = page_around(room.pk, middle, limit=limit, stored=STORED)
    first, last = max(1, number - limit // 2), min(60, number + (limit - limit // 2) - 1)
    assert numbers(page) == list(range(first, last + 1))
    older = numbers(page_before(room.pk, page.before, limit=200)) if page.before else []
    newer = numbers(page_after(room.pk, page.after, limit=200, stored=STORED)) if page.after else []
    assert older + numbers(page) + newer == list(range(1, 61))
    assert (page.stored == STORED) == (last == 60)


def test_a_page_around_a_place_without_a_row_holds_what_is_next_to_it() -> None:
    """A notice that is gone, or a record that was no message."""
    room = make_room()
    fill_room(room, 20)
    page = page_around(room.pk, Cursor(1, 0, 55), limit=4, stored=STORED)
    assert numbers(page) == [4, 5, 6, 7]
    beyond = page_around(room.pk, Cursor(9, 0, 0), limit=4, stored=STORED)
    assert numbers(beyond) == [19, 20] and beyond.stored == STORED

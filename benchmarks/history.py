"""How long a page of history takes in a room of millions: `python -m benchmarks.history`.

Times are those of the functions that the API calls: query, transfer and rows as objects.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable

from django.db import connection

from benchmarks.database import own_database
from messaging.cursor import Cursor
from messaging.history import newest_page, page_after, page_around, page_before
from tests.integration.history_support import explained, fill_room, make_room, nodes

PLACES = {"start": (0.0, 0.001), "middle": (0.45, 0.55), "end": (0.999, 1.0), "anywhere": (0.0, 1.0)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000, help="messages in the room")
    parser.add_argument("--pages", type=int, default=500, help="pages read for each line")
    parser.add_argument("--limit", type=int, default=50, help="messages on a page")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    with own_database():
        room = make_room()
        started = time.perf_counter()
        fill_room(room, arguments.rows)
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = 0")
            cursor.execute("VACUUM ANALYZE messaging_message")
        print(f"{arguments.rows:,} messages in one room, made in {time.perf_counter() - started:.0f} s", flush=True)
        print(f"{'page':<8} {'where':<9} {'p50 ms':>7} {'p99 ms':>7} {'max ms':>7}  rows read, index")
        places = random.Random(arguments.seed)
        for name, read in reads(room.pk, arguments.limit, arguments.rows).items():
            for where, (low, high) in ({"": (0.0, 1.0)} if name == "newest" else PLACES).items():
                numbers = [int(places.uniform(low, high) * arguments.rows) for _ in range(arguments.pages)]
                measure(name, where, read, [cursor_of(number, arguments.rows) for number in numbers])


def reads(room: int, limit: int, rows: int) -> dict[str, Callable[[Cursor], object]]:
    stored = cursor_of(rows, rows)
    return {
        "newest": lambda cursor: newest_page(room, limit=limit, stored=stored),
        "before": lambda cursor: page_before(room, cursor, limit=limit),
        "after": lambda cursor: page_after(room, cursor, limit=limit, stored=stored),
        "around": lambda cursor: page_around(room, cursor, limit=limit, stored=stored),
    }


def cursor_of(number: int, rows: int) -> Cursor:
    """The cursor of a message that `fill_room` made."""
    return Cursor(1 if number <= rows // 2 else 2, 0, number * 10)


def measure(name: str, where: str, read: Callable[[Cursor], object], cursors: list[Cursor]) -> None:
    """One line of the table, with the plan of the last page."""
    with explained() as plans:
        read(cursors[-1])
    times = []
    for cursor in cursors:
        started = time.perf_counter()
        read(cursor)
        times.append((time.perf_counter() - started) * 1e3)
    times.sort()
    scans = [node for plan in plans for node in nodes(plan) if "Index Name" in node]
    found = ", ".join(f"{node['Actual Rows']:.0f} {node['Index Name']}" for node in scans)
    print(
        f"{name:<8} {where:<9} {statistics.median(times):>7.2f} {times[int(len(times) * 0.99)]:>7.2f}"
        f" {times[-1]:>7.2f}  {found}",
        flush=True,
    )


if __name__ == "__main__":
    main()

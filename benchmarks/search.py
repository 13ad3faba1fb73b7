"""How long a search takes among a million messages: `python -m benchmarks.search`.

Times are those of the function that the API calls. Half of the rooms are private and not the searcher's. Words follow
Zipf's law, as those of people do; a rare word stands in twenty messages, a hidden one in rooms of others only.
"""

import argparse
import random
import statistics
import time
from itertools import accumulate

from django.db import connection

from benchmarks.database import own_database
from messaging.search import checked_query, search_messages
from messaging.words import index_words
from rooms.models import Membership, Room
from tests.integration.people_support import make_person

LETTERS = "abcdefghijklmnopqrstuvwxyz"
HAN = [chr(code) for code in range(0x4E00, 0x4E00 + 2000)]
COPY = """
    COPY messaging_message (room_id, uid, kind, epoch, partition, "offset", seq, sender_name, text, time, words)
    FROM STDIN
"""
QUERIES = {
    "rare word": "needle", "common word": "w0", "word of one in 100": "w30", "two common words": "w0 w1",
    "common and rare": "w0 needle", "word of nobody": "nobodysaysthis", "hidden common word": "hidden",
    "Chinese pair, common": HAN[0] + HAN[1], "Chinese, one sign": HAN[3], 
    "Chinese, three signs": HAN[0] + HAN[1] + HAN[2], "Chinese, rare": HAN[1500] + HAN[1700],
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rooms", type=int, default=200)
    parser.add_argument("--searches", type=int, default=50, help="for each line")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with own_database():
        person = prepare(arguments.rooms, arguments.rows, random.Random(arguments.seed))
        print(f"{'search':<24} {'found':>6} {'p50 ms':>8} {'p99 ms':>8} {'page 2':>8} {'in a room':>9}")
        for name, text in QUERIES.items():
            measure(name, text, person, arguments.searches)


def prepare(rooms: int, rows: int, chance: random.Random) -> int:
    owner, person = make_person("owner"), make_person("person")
    made = [
        Room.objects.create(name=f"Room {number}", owner=owner, kind="private" if number % 2 else "public")
        for number in range(rooms)
    ]
    Membership.objects.create(room=made[0], user=person)
    Membership.objects.create(room=made[1], user=person)
    started = time.perf_counter()
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        cursor.execute("DROP INDEX message_words")
        with cursor.copy(COPY) as copy:
            talk = Talk(rows, chance)
            for number in range(rows):
                room = made[min(int(chance.paretovariate(0.7)) - 1, rooms - 1)]
                text = talk.say(number, hidden=room.kind == "private" and room is not made[1])
                copy.write_row(
                    (room.pk, f"{number:032x}", "message", 1, 0, number, number, "owner", text,
                     "2026-01-01T00:00:00Z", index_words(text, room=room.pk, public=room.kind == "public"))
                )  # fmt: skip
        print(f"{rows:,} messages made in {time.perf_counter() - started:.0f} s", flush=True)
        started = time.perf_counter()
        cursor.execute("CREATE INDEX CONCURRENTLY message_words ON messaging_message USING gin (words)")
        print(f"the index was built in {time.perf_counter() - started:.0f} s", flush=True)
        cursor.execute("VACUUM ANALYZE messaging_message")
        cursor.execute(
            "SELECT pg_size_pretty(pg_relation_size('message_words')),"
            " pg_size_pretty(pg_table_size('messaging_message'))"
        )
        print("index {}, table {}".format(*cursor.fetchone()), flush=True)
    return person.pk


class Talk:
    def __init__(self, rows: int, chance: random.Random) -> None:
        self._chance = chance
        self._words = [f"w{number}" for number in range(20_000)]
        self._weights = list(accumulate(1 / rank for rank in range(1, 20_001)))
        self._signs = list(accumulate(1 / rank for rank in range(1, len(HAN) + 1)))
        self._needles = set(chance.sample(range(rows), 20))

    def say(self, number: int, *, hidden: bool) -> str:
        if self._chance.random() < 0.3:
            return "".join(self._chance.choices(HAN, cum_weights=self._signs, k=self._chance.randint(5, 30)))
        words = self._chance.choices(self._words, cum_weights=self._weights, k=self._chance.randint(3, 20))
        if number in self._needles:
            words.append("needle")
        return " ".join([*words, "hidden"] if hidden else words)


def measure(name: str, text: str, person: int, searches: int) -> None:
    """One line of the table."""
    query = checked_query(text)
    times, seconds, rooms = [], [], []
    room = Room.objects.earliest("pk").pk
    for _ in range(searches):
        started = time.perf_counter()
        found = search_messages(person, query, room=None, after=None, limit=50)
        times.append((time.perf_counter() - started) * 1e3)
        started = time.perf_counter()
        search_messages(person, query, room=None, after=found.after, limit=50)
        seconds.append((time.perf_counter() - started) * 1e3)
        started = time.perf_counter()
        search_messages(person, query, room=room, after=None, limit=50)
        rooms.append((time.perf_counter() - started) * 1e3)
    times.sort()
    print(
        f"{name:<24} {len(found.rows):>6} {statistics.median(times):>8.1f} {times[int(len(times) * 0.99)]:>8.1f}"
        f" {statistics.median(seconds):>8.1f} {statistics.median(rooms):>9.1f}",
        flush=True,
    )


if __name__ == "__main__":
    main()

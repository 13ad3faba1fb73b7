"""How long the room list takes, as a whole REST call with PostgreSQL and Redis: `python -m benchmarks.rooms`.

CPU is this process's; on a busy machine it says more than the times do.

The person is a member of half of the rooms, one in ten is direct, and each has a last message and people online.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import redis
from django.conf import settings
from django.test import Client

from benchmarks.database import own_database

# isort: split

from accounts.cache import Entry, VersionedCache
from accounts.models import User
from accounts.tokens import issue_token
from rooms.figures import last_message_key
from rooms.models import Membership, Room
from rooms.presence import keys_of, member_of

PEOPLE = 1_000
MESSAGE = {"type": "message", "sender": "p1", "text": "x" * 100, "time": "2026-11-23T10:00:00.000Z"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rooms", type=int, default=1_000)
    parser.add_argument("--members", type=int, default=20, help="of each room")
    parser.add_argument("--runs", type=int, default=100)
    arguments = parser.parse_args()
    with own_database():
        person = make_rooms(arguments.rooms, arguments.members)
        client = Client(headers={"Authorization": f"Bearer {issue_token(person)[0]}", "Host": "localhost"})
        print(f"{arguments.rooms:,} rooms of {arguments.members} members")
        print(f"{'call':<28} {'p50 ms':>7} {'p95 ms':>7} {'CPU ms':>7}")
        measure("a page of 50", arguments.runs, lambda: read(client, limit=50))
        measure("a search, 50", arguments.runs, lambda: read(client, limit=50, q="om 9"))
        measure("all, in pages of 200", max(5, arguments.runs // 10), lambda: read_all(client))


def make_rooms(count: int, members: int) -> User:
    people = User.objects.bulk_create(User(username=f"p{n}", username_key=f"p{n}") for n in range(PEOPLE))
    me = people[0]
    rooms = Room.objects.bulk_create(
        Room(name=f"Room {n}", kind="direct", owner=me, direct_low=me, direct_high=people[n % PEOPLE])
        if 0 < n < count // 10 and n < PEOPLE
        else Room(name=f"Room {n}", owner=people[n % PEOPLE], last_seq=n)
        for n in range(count)
    )
    Membership.objects.bulk_create(
        Membership(room=room, user=user)
        for n, room in enumerate(rooms)
        for user in [*people[1 + n % 900 :][: members - 1], *([me] if n % 2 or room.kind == "direct" else [])]
    )
    store = redis.Redis.from_url(settings.REDIS_URL)
    cache = VersionedCache(settings.REDIS_URL, **settings.REDIS_OPTIONS)
    cache.write(Entry(last_message_key(room.pk), 1, {**MESSAGE, "room": room.pk}) for room in rooms)
    for room in rooms:
        store.zadd(keys_of(room.pk)[0], {member_of(f"p{n}", "s"): 2**52 for n in range(10)})
        store.hset(keys_of(room.pk)[1], mapping={f"p{n}": 1 for n in range(10)})
    return me


def read(client: Client, **query: Any) -> Any:
    response = client.get("/api/v1/rooms", query)
    if response.status_code != 200:
        raise SystemExit(response.text)
    return response.json()


def read_all(client: Client) -> None:
    page = read(client, limit=200)
    while page["next"]:
        page = read(client, limit=200, after=page["next"])


def measure(name: str, runs: int, call: Callable[[], object]) -> None:
    call()
    times, cpu = [], time.process_time()
    for _ in range(runs):
        started = time.perf_counter()
        call()
        times.append((time.perf_counter() - started) * 1_000)
    cpu = (time.process_time() - cpu) / runs * 1_000
    cuts = statistics.quantiles(times, n=20)
    print(f"{name:<28} {statistics.median(times):7.1f} {cuts[18]:7.1f} {cpu:7.1f}", flush=True)


if __name__ == "__main__":
    main()

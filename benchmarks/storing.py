"""How many messages a second one event consumer stores: `python -m benchmarks.storing`.

Timed is `MessageStorage.store` over a real PostgreSQL, from the bytes of the records to the commit: what the event
consumer does besides reading from Kafka. People talk in rooms of very unequal size (Zipf), in English and in Korean.
Their words are indexed, the activity of the rooms is told, all but to Kafka, and the senders' read marks are written.
Each line is measured in a new database, with rows of former batches in place. On a machine that does other things as
well, the CPU time tells more than the rate.
"""

import argparse
import os
import random
import time
from collections import deque
from collections.abc import Iterable
from itertools import accumulate
from pathlib import Path
from uuid import UUID

import orjson
from django.contrib.auth import get_user_model
from django.db import connection

from benchmarks.database import own_database
from events.consumer import ReceivedRecord
from events.producing import OutgoingRecord
from events.topics import Topic
from messaging.activity import RoomActivity
from messaging.last_message import newest_messages
from messaging.models import Message
from messaging.storage import MessageStorage
from rooms.models import Membership, Room
from tests.integration.history_support import make_room

ENGLISH = """
the of and to in is that it was for on are as with they at be this have from or had by but what some we can out
other were all there when up use your how said each she which their time will way about many then them write
would like so these her long make thing see him two has look more day could go come did number sound no most
people my over know water than call first who may down side been now find any new work part take get place made
"""
KOREAN = """
오늘 내일 회의 시간 확인 부탁드립니다 감사합니다 안녕하세요 지금 어디 있어요 점심 저녁 같이 먹어요 서버 배포 완료
테스트 결과 공유 드립니다 다시 말씀해 주세요 알겠습니다 좋아요 그렇게 합시다 문제 없습니다 사진 보내 주세요
"""

PEOPLE = 100
# What is changed of the tables for a line.
VARIANTS = {
    "as it is": "",
    "no search index": "DROP INDEX message_words",
    "the index without a pending list": "ALTER INDEX message_words SET (fastupdate = off)",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--batch", type=int, default=500, help="messages stored together")
    parser.add_argument("--rooms", type=int, default=500)
    parser.add_argument("--korean", type=float, default=0.3, help="share of the messages")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}; {arguments.messages:,} messages, {arguments.batch} at a time", flush=True)
    print("CPU in microseconds a row, of Python and of PostgreSQL", flush=True)
    print(
        f"{'':<34} {'rows/s':>8} {'min ms':>7} {'p50 ms':>7} {'p99 ms':>7} {'max ms':>7} {'size':>8}"
        f" {'Python':>7} {'Postgres':>8}"
    )
    for name, statement in VARIANTS.items():
        with own_database():
            rooms = [make_room(f"Room {n}") for n in range(arguments.rooms)]
            with connection.cursor() as cursor:
                cursor.execute(f"SET statement_timeout = 0; {statement}")
            people = make_members(rooms)
            measure(name, Talk(rooms, people, random.Random(arguments.seed), arguments.korean), arguments)


class Talk:
    """Records of one partition, one behind the other."""

    def __init__(self, rooms: list[Room], people: list[int], chance: random.Random, korean: float) -> None:
        self._people = people
        self._rooms = [room.pk for room in rooms]
        self._weights = list(accumulate(1 / rank for rank in range(1, len(rooms) + 1)))
        self._chance = chance
        self._share = korean
        self._english, self._korean = ENGLISH.split(), KOREAN.split()
        self._offset = 0

    def batch(self, count: int) -> list[ReceivedRecord]:
        return [self._record(room) for room in self._chance.choices(self._rooms, cum_weights=self._weights, k=count)]

    def _record(self, room: int) -> ReceivedRecord:
        words = self._korean if self._chance.random() < self._share else self._english
        text = " ".join(self._chance.choices(words, k=self._chance.randint(3, 20)))
        sender = self._chance.choice(self._people)
        value = orjson.dumps(
            {
                "id": str(UUID(int=self._chance.getrandbits(128))),
                "type": "chat.message.created.v1",
                "source": "chat",
                "subject": f"room/{room}",
                "time": "2026-11-23T10:00:00.000Z",
                "data": {
                    "room": room, "sender": f"person{sender}", "sender_id": sender, "text": text, "reply_to": None
                },
            }
        )  # fmt: skip
        self._offset += 1
        return ReceivedRecord(
            Topic.MESSAGE_CREATED.value, 0, self._offset - 1, f"room.{room}", value, {}, 1_790_000_000_000
        )


def measure(name: str, talk: Talk, arguments: argparse.Namespace) -> None:
    """One line of the table."""
    activity = RoomActivity(_swallow)
    activity.start()
    storage = MessageStorage(epoch=1, on_stored=lambda *stored: activity.note(newest_messages(*stored), stored[2]))
    storage.start_offset(0)
    times: list[float] = []
    python = 0.0
    backend = _backend()
    before = _cpu(backend)
    for _ in range(arguments.messages // arguments.batch):
        batch = talk.batch(arguments.batch)
        started, cpu = time.perf_counter(), time.process_time()
        storage.store(batch)
        times.append(time.perf_counter() - started)
        python += time.process_time() - cpu
    activity.close()
    rows = len(times) * arguments.batch
    postgres = _cpu(backend) - before
    if Message.objects.count() != rows:
        raise SystemExit("Not every message was stored once.")
    rate, times = rows / sum(times), sorted(times)
    p50, p99 = times[len(times) // 2] * 1e3, times[int(len(times) * 0.99)] * 1e3
    print(
        f"{name:<34} {rate:>8,.0f} {times[0] * 1e3:>7.1f} {p50:>7.1f} {p99:>7.1f} {times[-1] * 1e3:>7.1f}"
        f" {_index_size():>8} {python / rows * 1e6:>7.1f} {postgres / rows * 1e6:>8.1f}",
        flush=True,
    )


def _swallow(topic: str, records: Iterable[OutgoingRecord]) -> None:
    deque(records, maxlen=0)


def make_members(rooms: list[Room]) -> list[int]:
    """People who are members of all the rooms."""
    user = get_user_model()
    people = user.objects.bulk_create(user(username=f"p{n}", username_key=f"p{n}") for n in range(PEOPLE))
    Membership.objects.bulk_create(Membership(room=room, user=person) for room in rooms for person in people)
    return [person.pk for person in people]


def _backend() -> int:
    """The process of PostgreSQL that serves this connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def _cpu(pid: int) -> float:
    """Seconds of CPU that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _index_size() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT COALESCE(pg_size_pretty(pg_relation_size(to_regclass('message_words'))), '-')")
        return str(cursor.fetchone()[0])


if __name__ == "__main__":
    main()

"""Records that cannot be handled are set aside with their reason, and the records behind them are handled."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition

from devstack import DevStack
from tests.acceptance.chat import Chat, create_room
from tests.acceptance.processes import wait_for

TIME = "2026-11-23T10:00:00.000Z"


class DeadLetterBox:
    """Reads what arrives on the dead-letter topic from now on: value → the reason and where it came from."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": uuid4().hex})
        _, end = self._consumer.get_watermark_offsets(TopicPartition("chat.dead_letter", 0), timeout=10)
        self._consumer.assign([TopicPartition("chat.dead_letter", 0, end)])
        self.letters: dict[bytes, dict[str, str]] = {}

    def has(self, value: bytes) -> bool:
        message = self._consumer.poll(0.1)
        if message is not None and message.error() is None:
            self.letters[message.value()] = {name: data.decode() for name, data in message.headers()}
        return value in self.letters

    def close(self) -> None:
        self._consumer.close()


@pytest.fixture
def dead_letters(chat_environment: dict[str, str]) -> Iterator[DeadLetterBox]:
    box = DeadLetterBox(chat_environment["KAFKA_BOOTSTRAP_SERVERS"])
    yield box
    box.close()


def envelope(type: str, data: dict[str, Any], *, version: int | None = None) -> bytes:
    fields = {"id": str(uuid4()), "type": type, "source": "chat", "subject": "a test", "time": TIME}
    return json.dumps({**fields, "version": version, "data": data}).encode()


def message(room: int, text: str) -> bytes:
    data = {"room": room, "sender": "alice", "sender_id": 1, "text": text, "reply_to": None}
    return envelope("chat.message.created.v1", data)


class Log:
    """Produces records to one partition of a topic, so that good ones stand behind bad ones."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._producer = Producer({"bootstrap.servers": bootstrap_servers})

    def produce(self, topic: str, *records: tuple[str, bytes]) -> None:
        for key, value in records:
            self._producer.produce(topic, key=key, value=value, partition=0)
        assert self._producer.flush(10) == 0


@pytest.mark.parametrize("topic", ["chat.message.created", "chat.user.created", "chat.room.created"])
@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"{not json", "JSON"),
        (envelope("chat.message.created.v9", {}), "v9"),
        (message(2**40, "nobody is there"), ""),
    ],
    ids=["not JSON", "a future version", "no such room"],
)
def test_a_bad_record_is_set_aside_and_what_stands_behind_it_is_handled(
    chat: Chat, chat_stack: DevStack, dead_letters: DeadLetterBox, topic: str, bad: bytes, reason: str
):
    web = chat.web()
    (token,) = chat.tokens(1).values()
    room = create_room(web.url, token)
    mark = uuid4().hex[:12]
    bad += b" " * int(mark[:2], 16)  # JSON does not mind, and the letter is this test's own
    good = {
        "chat.message.created": (f"room.{room}", message(room, f"behind {mark}")),
        "chat.user.created": (mark, envelope("chat.user.created.v1", {"id": mark, "created": TIME}, version=1)),
        "chat.room.created": (
            "4711",
            envelope(
                "chat.room.created.v1",
                {"id": int(mark, 16), "name": "R", "kind": "public", "owner": "alice", "created": TIME},
                version=1,
            ),
        ),
    }[topic]
    Log(chat.environment["KAFKA_BOOTSTRAP_SERVERS"]).produce(topic, (f"room.{2**40}", bad), good)
    chat.event_consumer()

    wait_for(lambda: dead_letters.has(bad), "the bad record is among the dead letters")
    letter = dead_letters.letters[bad]
    assert letter["topic"] == topic
    assert reason in letter["reason"] and letter["reason"]
    assert letter["offset"].isdigit() and letter["partition"] == "0"
    cache = redis.Redis.from_url(chat_stack.addresses()["REDIS_URL"])
    handled = {
        "chat.message.created": lambda: f"behind {mark}" in chat.stored(room),
        "chat.user.created": lambda: cache.exists(f"user:{mark}"),
        "chat.room.created": lambda: cache.exists(f"room:{int(mark, 16)}"),
    }[topic]
    wait_for(handled, "the record behind the bad one is handled")
    cache.close()

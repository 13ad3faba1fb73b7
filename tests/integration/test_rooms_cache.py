"""The handlers of the created topics: Redis first, then the room list's notification."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
import redis
from confluent_kafka import KafkaException
from django.conf import settings

from accounts.cache import UserCacheHandler, VersionedCache
from events import producing
from events.consumer import ReceivedRecord
from events.envelope import Envelope, InvalidRecord
from events.schemas import EventType
from events.topics import Topic
from rooms.cache import RoomCacheHandler
from tests.integration.outbox_support import reading

TIME = "2026-11-23T10:00:00.000Z"


@pytest.fixture
def store() -> "Iterator[redis.Redis]":
    client = redis.Redis.from_url(settings.REDIS_URL)
    for key in ("user:Zoë", "user:bob", "room:700001", "room:700002"):
        client.delete(key)
    with closing(client):
        yield client


@pytest.fixture
def cache() -> VersionedCache:
    return VersionedCache(settings.REDIS_URL, **settings.REDIS_OPTIONS)


def record(envelope: Envelope | bytes, topic: Topic = Topic.USER_CREATED) -> ReceivedRecord:
    value = envelope if isinstance(envelope, bytes) else envelope.encode()
    return ReceivedRecord(topic.value, 0, 0, "key", value, {}, 0)


def user_created(username: str, version: int | None, created: str = TIME) -> Envelope:
    data = {"id": username, "created": created}
    subject = f"user/{username}"
    return Envelope(
        id=str(uuid4()), type=EventType.USER_CREATED, subject=subject, time=TIME, version=version, data=data
    )


def room_created(room: int, version: int, name: str = "Lobby") -> Envelope:
    data = {"id": room, "name": name, "kind": "public", "owner": "alice", "created": TIME}
    subject = f"room/{room}"
    return Envelope(
        id=str(uuid4()), type=EventType.ROOM_CREATED, subject=subject, time=TIME, version=version, data=data
    )


def held(store: Any, key: str) -> tuple[int, Any]:
    version, data = store.hmget(key, "version", "data")
    return int(version), orjson.loads(data)


def test_people_are_in_redis(cache: VersionedCache, store: Any) -> None:
    """`user:{id}`, with the version."""
    UserCacheHandler(cache).store([record(user_created("Zoë", 1)), record(user_created("bob", 1))])
    assert held(store, "user:Zoë") == (1, {"id": "Zoë", "created": TIME})
    assert held(store, "user:bob")[0] == 1


def test_an_old_version_never_overwrites_a_newer_one(cache: VersionedCache, store: Any) -> None:
    """In one batch, in later ones, and repeated."""
    handler = UserCacheHandler(cache)
    newer = user_created("bob", 10, "2026-11-23T11:00:00.000Z")
    for batch in ([user_created("bob", 9)], [newer], [user_created("bob", 2)], [newer], [user_created("bob", 10)]):
        handler.store([record(envelope) for envelope in batch])
    assert held(store, "user:bob") == (10, newer.data)


@pytest.mark.parametrize(
    "bad",
    [b"no json", b"[]", room_created(700001, 1), user_created("bob", None)],
    ids=["text", "list", "another type", "no version"],
)
def test_a_bad_record_is_said_to_be_one(cache: VersionedCache, store: Any, bad: Envelope | bytes) -> None:
    """The event consumer sets it aside; the batch has written nothing."""
    handler = UserCacheHandler(cache)
    with pytest.raises(InvalidRecord):
        handler.store([record(user_created("Zoë", 1)), record(bad)])
    assert not store.exists("user:Zoë")


def test_redis_away_is_transient(store: Any) -> None:
    """What is raised is what the event consumer waits for."""
    handler = UserCacheHandler(VersionedCache("redis://127.0.0.1:1/0"))
    with pytest.raises(redis.RedisError):
        handler.store([record(user_created("bob", 1))])


def test_who_is_told_of_a_room_finds_it(cache: VersionedCache, store: Any) -> None:
    """First Redis, then the notification: the same event, with the id and version by which readers drop repeats."""
    handler = RoomCacheHandler(cache, settings.KAFKA_BOOTSTRAP_SERVERS)
    envelopes = [room_created(700001, 1, "Ca\u0301fé"), room_created(700002, 1)]
    with reading(Topic.ROOM_NOTIFICATION) as reader:
        handler.store([record(envelope, Topic.ROOM_CREATED) for envelope in envelopes])
        assert held(store, "room:700001") == (1, envelopes[0].data)
        handler.store([record(envelopes[0], Topic.ROOM_CREATED)])
        reader.read_all({UUID(envelope.id) for envelope in envelopes})
        told = [(envelope, headers) for envelope, headers in reader.records if envelope in envelopes]
    assert [envelope for envelope, _ in told[:2]] == envelopes
    assert told[0][1] == {
        "id": envelopes[0].id.encode(), "type": b"chat.room.created.v1", "version": b"1",
    }  # fmt: skip


def test_kafka_away_is_transient(cache: VersionedCache, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch is tried again; the cache has taken no harm."""
    monkeypatch.setattr(producing, "TIMEOUT", 1.5)
    handler = RoomCacheHandler(cache, "127.0.0.1:1")
    with pytest.raises(KafkaException):
        handler.store([record(room_created(700001, 1), Topic.ROOM_CREATED)])

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
from django.core.management import call_command

from accounts.cache import Entry, UserCacheHandler, VersionedCache
from events import producing
from events.consumer import ReceivedRecord
from events.envelope import Envelope, InvalidRecord
from events.schemas import EventType
from events.topics import Topic
from rooms.cache import RoomCacheHandler
from rooms.figures import last_message_key
from rooms.services import room_state
from tests.integration.history_support import fill_room, make_room
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
    data = {"name": name, "kind": "public", "owner": "alice", "created": TIME, "people": None}
    return of_room(EventType.ROOM_CREATED, room, version, **data)


def of_room(type: EventType, room: int, version: int, **data: Any) -> Envelope:
    return Envelope(
        id=str(uuid4()), type=type, subject=f"room/{room}", time=TIME, version=version, data={"id": room, **data}
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


def test_a_renamed_and_deleted_room_is_told_in_order_and_leaves_redis(cache: VersionedCache, store: Any) -> None:
    """What comes late, after the deletion, does not bring it back, and nobody is told of it."""
    handler = RoomCacheHandler(cache, settings.KAFKA_BOOTSTRAP_SERVERS)
    created = room_created(700001, 1)
    renamed = of_room(EventType.ROOM_UPDATED, 700001, 2, **{**created.data, "name": "Hall"})
    deleted = of_room(EventType.ROOM_DELETED, 700001, 4, kind="public")
    with reading(Topic.ROOM_NOTIFICATION) as reader:
        handler.store([record(envelope, Topic.ROOM_CREATED) for envelope in (created, renamed)])
        assert held(store, "room:700001") == (2, renamed.data)
        handler.store([record(deleted, Topic.ROOM_CREATED)])
        handler.store([record(envelope, Topic.ROOM_CREATED) for envelope in (renamed, deleted)])
        assert store.hmget("room:700001", "version", "data") == [b"4", None]
        reader.read_all({UUID(deleted.id)})
        reader.read_to_end()
    told = [envelope for envelope, _ in reader.records if envelope.subject == "room/700001"]
    assert told == [created, renamed, deleted, deleted], (
        "A repeat of the newest is passed on; readers drop it by its id."
    )


def test_what_was_said_last_goes_with_its_room(cache: VersionedCache, store: Any) -> None:
    """And does not come back with what is stored late."""
    key = last_message_key(700001)
    cache.write([Entry(key, 5, {"text": "a secret"})])
    handler = RoomCacheHandler(cache, settings.KAFKA_BOOTSTRAP_SERVERS)
    handler.store([record(of_room(EventType.ROOM_DELETED, 700001, 4, kind="private"), Topic.ROOM_CREATED)])
    cache.write([Entry(key, 6, {"text": "said while it went"})])
    assert store.hget(key, "data") is None and store.ttl(key) > 0


def test_of_what_could_not_be_told_nothing_is_left_out(
    cache: VersionedCache, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka goes away between Redis and the notifications of two events of a room; the batch is tried again."""
    created = room_created(700001, 1)
    renamed = of_room(EventType.ROOM_UPDATED, 700001, 2, **created.data)
    batch = [record(envelope, Topic.ROOM_CREATED) for envelope in (created, renamed)]
    with monkeypatch.context() as patch, pytest.raises(KafkaException):
        patch.setattr(producing, "TIMEOUT", 1.5)
        RoomCacheHandler(cache, "127.0.0.1:1").store(batch)
    with reading(Topic.ROOM_NOTIFICATION) as reader:
        RoomCacheHandler(cache, settings.KAFKA_BOOTSTRAP_SERVERS).store(batch)
        reader.read_all({UUID(created.id), UUID(renamed.id)})


def test_what_came_by_rebuilding_keeps_nobody_from_being_told(cache: VersionedCache, store: Any) -> None:
    """The row is ahead of its event while that is under way."""
    handler = RoomCacheHandler(cache, settings.KAFKA_BOOTSTRAP_SERVERS)
    renamed = of_room(EventType.ROOM_UPDATED, 700001, 2, **room_created(700001, 1).data)
    cache.write([Entry("room:700001", 3, renamed.data)])
    with reading(Topic.ROOM_NOTIFICATION) as reader:
        handler.store([record(renamed, Topic.ROOM_CREATED)])
        reader.read_all({UUID(renamed.id)})
    assert held(store, "room:700001")[0] == 3


def test_kafka_away_is_transient(cache: VersionedCache, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch is tried again; the cache has taken no harm."""
    monkeypatch.setattr(producing, "TIMEOUT", 1.5)
    handler = RoomCacheHandler(cache, "127.0.0.1:1")
    with pytest.raises(KafkaException):
        handler.store([record(room_created(700001, 1), Topic.ROOM_CREATED)])


@pytest.mark.django_db
def test_rebuilding_writes_what_is_there_and_takes_out_what_is_gone(cache: VersionedCache, store: Any) -> None:
    """People, rooms and last messages, as their rows are; a deleted room's grave stays."""
    room = make_room("Lobby")
    fill_room(room, 2)
    owner = room.owner.username
    # Redis has outlived the rows of earlier runs, with the same numbers.
    cache.forget([f"room:{room.pk}", last_message_key(room.pk), f"user:{owner}"])
    cache.write([Entry("room:700001", 1, {}), Entry(last_message_key(700001), 1, {}), Entry("user:Zoë", 1, {})])
    cache.write([Entry("room:700002", 3, None), Entry(f"user:{owner}", 0, {"id": "wrong"})])
    call_command("rebuild_cache")
    assert held(store, f"room:{room.pk}") == (room.version, room_state(room))
    assert held(store, f"user:{owner}")[1]["id"] == owner
    assert held(store, last_message_key(room.pk))[1]["text"].startswith("This is message number 2")
    assert not store.exists("room:700001", last_message_key(700001), "user:Zoë")
    assert store.exists("room:700002")

"""Token buckets in Redis, shared by all servers, and what becomes of them without it."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest
import redis
from django.conf import settings
from django.test import Client

from accounts import limits as limits_module
from accounts.limits import Limit, LocalBuckets, SharedBuckets
from accounts.models import User
from messaging.open_sockets import OpenSockets, key_of
from rooms.models import Room
from tests.integration.people_support import Door, make_person, refused

NOWHERE = "redis://127.0.0.1:1/0"
Shared = Callable[..., SharedBuckets]
SLOW = Limit(burst=5, per=5000)


@pytest.fixture
def key() -> Iterator[str]:
    key = uuid4().hex
    yield key
    with redis.Redis.from_url(settings.REDIS_URL) as store:
        store.delete(f"limit:{key}")


@pytest.fixture
def shared() -> Iterator[Shared]:
    """Makes buckets as each server has them."""
    with ExitStack() as life:

        def make(url: str = settings.REDIS_URL, **options: float) -> SharedBuckets:
            buckets = SharedBuckets(url, LocalBuckets(), **{**settings.REDIS_OPTIONS, **options})
            return life.enter_context(closing(buckets))

        yield make


def test_servers_share_a_bucket_and_together_get_no_more_than_it_holds(key: str, shared: Shared) -> None:
    """However many ask at once."""
    servers = [shared() for _ in range(4)]
    with ThreadPoolExecutor(16) as pool:
        waits = list(pool.map(lambda n: servers[n % 4].take(key, SLOW), range(40)))
    assert waits.count(0) == 5
    assert all(990 < wait <= 1000 for wait in waits if wait)


def test_tokens_come_back_by_the_clock_of_redis(key: str, shared: Shared) -> None:
    buckets, limit = shared(), Limit(burst=2, per=20)
    assert [buckets.take(key, limit) for _ in range(2)] == [0, 0]
    wait = buckets.take(key, limit)
    assert 0 < wait <= 10
    with redis.Redis.from_url(settings.REDIS_URL) as store:
        # As if so much time had gone by.
        store.hset(f"limit:{key}", "at", float(store.hget(f"limit:{key}", "at")) - wait * 1000)
    assert buckets.take(key, limit) == 0


def test_what_is_given_back_can_be_taken_again_and_a_full_bucket_stays_full(key: str, shared: Shared) -> None:
    buckets = shared()
    for _ in range(3):
        buckets.take(key, SLOW, -1)
    for _ in range(20):
        assert buckets.take(key, SLOW) == 0
        buckets.take(key, SLOW, -1)
    assert [buckets.take(key, SLOW) for _ in range(5)] == [0] * 5
    assert buckets.take(key, SLOW) > 0


def test_a_bucket_expires_when_it_would_be_full(key: str, shared: Shared) -> None:
    shared().take(key, SLOW)
    with redis.Redis.from_url(settings.REDIS_URL) as store:
        assert 0 < store.pttl(f"limit:{key}") <= 5_000_000


def test_without_redis_a_process_counts_by_itself_and_says_so_once(
    key: str, shared: Shared, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And asks Redis again a little later only."""
    buckets = shared(NOWHERE)
    assert [bool(buckets.take(key, SLOW)) for _ in range(7)] == [False] * 5 + [True] * 2
    now = monotonic() + limits_module.PAUSE + 1
    monkeypatch.setattr(limits_module, "monotonic", lambda: now)
    buckets.take(key, SLOW)
    assert caplog.text.count("Each process counts by itself") == 1


def test_a_redis_that_hangs_holds_up_one_call_for_its_time_out(
    key: str, shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that accepts and never answers; those behind it do not wait."""

    with socket.create_server(("127.0.0.1", 0)) as server:
        buckets = shared(f"redis://127.0.0.1:{server.getsockname()[1]}/0", socket_timeout=0.3)
        now = monotonic()
        monkeypatch.setattr(limits_module, "monotonic", lambda: now)
        assert [bool(buckets.take(key, SLOW)) for _ in range(7)] == [False] * 5 + [True] * 2
        assert monotonic() - now < settings.REDIS_OPTIONS["socket_timeout"]
        server.setblocking(False)
        server.accept()[0].close()
        with pytest.raises(BlockingIOError):
            server.accept()


# Over REST


def strict(name: str, burst: int) -> dict[str, Limit]:
    return {**settings.LIMITS, name: Limit(burst, burst * 1000)}


@pytest.fixture
def person(transactional_db: None) -> User:
    return make_person(f"limited-{uuid4().hex[:8]}")


def retry_after(door: Door, answer: Any) -> float:
    assert refused(door, answer) == (429, "rate_limited")
    wait: float = answer["retry_after"]
    return wait


def test_rooms_are_created_so_often(person: User, settings: Any) -> None:
    settings.LIMITS = strict("rooms", 2)
    door = Door(token_of=person)
    for n in range(2):
        door.call("POST", "/rooms", {"name": f"Room {n}", "kind": "public"})
        assert door.status == 201
    assert retry_after(door, door.call("POST", "/rooms", {"name": "One more", "kind": "public"})) >= 1
    assert Room.objects.filter(owner=person).count() == 2


def test_rooms_are_joined_so_often(person: User, settings: Any) -> None:
    settings.LIMITS = strict("joins", 2)
    owner, door = make_person(f"owner-{uuid4().hex[:8]}"), Door(token_of=person)
    answers = [
        door.call("PUT", f"/rooms/{Door(token_of=owner).call('POST', '/rooms', {'name': str(n)})['id']}/membership")
        for n in range(3)
    ]
    assert retry_after(door, answers[-1]) >= 1
    assert person.memberships.count() == 2


def test_accounts_are_made_so_often_from_an_address(transactional_db: None, settings: Any) -> None:
    """Unless it is in a trusted network; a sign-up without the CSRF token does not count."""
    settings.LIMITS = strict("sign_ups", 2)
    address = f"2001:db8:{uuid4().int % 65536:x}::1"

    def sign_up(address: str, *, csrf: bool = True) -> tuple[int, str | None]:
        door = Door()
        door.client = Client(enforce_csrf_checks=True, REMOTE_ADDR=address)
        name = f"new-{uuid4().hex[:8]}"
        answer = door.call("POST", "/users", {"id": name, "password": "correct horse battery"}, csrf=csrf)
        return door.status, answer.get("code")

    assert sign_up(address, csrf=False) == (403, "forbidden")
    neighbour = address.replace("::1", "::2")
    assert [sign_up(one) for one in (address, neighbour, address)] == [
        (201, None), (201, None), (429, "rate_limited")
    ]  # fmt: skip
    assert [sign_up("127.0.0.1")[0] for _ in range(3)] == [201] * 3


def test_calls_are_counted_for_a_person(person: User, settings: Any) -> None:
    settings.LIMITS = strict("calls", 3)
    door = Door(token_of=person)
    assert [door.get("/rooms") and door.status for _ in range(3)] == [200] * 3
    assert retry_after(door, door.get("/rooms")) >= 1
    other = Door(token_of=make_person(f"other-{uuid4().hex[:8]}"))
    assert other.get("/rooms") and other.status == 200


def test_guesses_at_the_admin_s_door_count_as_at_the_others(person: User) -> None:
    """In one bucket."""
    client, form = Client(), {"username": person.username, "password": "a guess"}
    for _ in range(10):
        assert "password is wrong" in client.post("/admin/login/", form).content.decode()
    assert "too often" in client.post("/admin/login/", form).content.decode()
    door = Door()
    assert retry_after(door, door.sign_in(person.username)) >= 1


def test_without_redis_limits_hold_and_nothing_fails(
    person: User, shared: Shared, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.LIMITS = {**strict("rooms", 2), **{"sign_in_failures": Limit(2, 2000)}}
    away = shared(NOWHERE)
    monkeypatch.setattr(limits_module, "_shared", lambda: away)
    door = Door(token_of=person)
    answers = [door.call("POST", "/rooms", {"name": f"Room {n}"}) for n in range(3)]
    assert retry_after(door, answers[-1]) >= 1
    browser = Door()
    statuses = [browser.sign_in(person.username, "a guess") and browser.status for _ in range(3)]
    assert statuses == [401, 401, 429]


# Open sockets


def sockets(url: str = "", *, most: int) -> OpenSockets:
    return OpenSockets(url or settings.REDIS_URL, most=most, **settings.REDIS_OPTIONS)


@pytest.fixture
def user() -> Iterator[int]:
    """The key of a person of its own for each test."""
    user = uuid4().int % 2**40
    yield user
    with redis.Redis.from_url(settings.REDIS_URL) as store:
        store.delete(key_of(user))


async def test_a_socket_that_a_renewal_brings_along_takes_one_place(user: int) -> None:
    """Renewals run beside: one may reach Redis before the socket itself has asked for its place."""
    async with sockets(most=2) as here:
        assert await here.open_socket(user, "a")
        with redis.Redis.from_url(settings.REDIS_URL) as store:
            store.zadd(key_of(user), {"b": 2**52})
        assert await here.open_socket(user, "b")
        assert not await here.open_socket(user, "c")


async def test_a_person_has_so_many_sockets_on_all_servers_together(user: int) -> None:
    async with sockets(most=3) as here, sockets(most=3) as there:
        opened = [await server.open_socket(user, name) for server, name in ((here, "a"), (here, "b"), (there, "c"))]
        assert opened == [True] * 3
        for server in (here, there):
            assert not await server.open_socket(user, "d")
            await server.close_socket(user, "d")
        assert await there.open_socket(user + 1, "e")
        await there.close_socket(user + 1, "e")
        await here.close_socket(user, "a")
        assert await there.open_socket(user, "d")
        for server, name in ((here, "b"), (there, "c"), (there, "d")):
            await server.close_socket(user, name)
    with redis.Redis.from_url(settings.REDIS_URL) as store:
        assert not store.exists(key_of(user), key_of(user + 1))


async def test_a_crashed_server_s_sockets_hold_no_place_for_longer_than_their_lease(user: int) -> None:
    async with sockets(most=1) as crashed, sockets(most=1) as other:
        assert await crashed.open_socket(user, "a")
        assert not await other.open_socket(user, "b")
        await other.close_socket(user, "b")
        with redis.Redis.from_url(settings.REDIS_URL) as store:
            assert 0 < store.pttl(key_of(user)) <= 30_000
            store.zadd(key_of(user), {"a": 1})  # its lease is over
        assert await other.open_socket(user, "b")


async def test_a_redis_that_forgot_the_sockets_learns_of_them_again(user: int) -> None:
    async with sockets(most=1) as server, sockets(most=1) as other:
        await server.open_socket(user, "a")
        with redis.Redis.from_url(settings.REDIS_URL) as store:
            store.delete(key_of(user))
            keeping = asyncio.create_task(server.keep())
            async with asyncio.timeout(10):
                while not store.exists(key_of(user)):  # noqa: ASYNC110 (Redis tells nobody)
                    await asyncio.sleep(0.01)
            keeping.cancel()
            await asyncio.wait([keeping])
        assert not await other.open_socket(user, "b")


async def test_without_redis_each_server_counts_its_own_sockets(caplog: pytest.LogCaptureFixture) -> None:
    """Also when they all come at once."""
    async with sockets(NOWHERE, most=3) as server:
        opened = await asyncio.gather(*(server.open_socket(1, str(n)) for n in range(5)))
        assert opened == [True] * 3 + [False] * 2
        for n in range(5):
            await server.close_socket(1, str(n))
        assert await server.open_socket(1, "again")
    assert caplog.text.count("Each process counts its own sockets") == 1

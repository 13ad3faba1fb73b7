"""Who does something too often is refused on every server, in the protocol's words, with Redis and without."""

import asyncio
import json
from contextlib import AsyncExitStack
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from devstack import DevStack
from tests.acceptance.chat import Chat, create_room
from tests.acceptance.client import ChatClient
from tests.acceptance.processes import Web

# Nobody is free of the limits by address, and a proxy on this machine is believed.
BEHIND_A_PROXY = {"TRUSTED_NETWORKS": "", "TRUSTED_PROXIES": "127.0.0.1"}


def own_address() -> str:
    """An address that no other test has used."""
    number = uuid4().int
    return f"2001:db8:{number % 65536:x}:{number // 65536 % 65536:x}::1"


async def shake_hands(web: Web, **headers: str) -> int:
    """The status of a handshake without a token: 101 is a socket that is closed 4001."""
    origin = {"Origin": web.url, **{name.replace("_", "-"): value for name, value in headers.items()}}
    try:
        async with connect(web.url.replace("http", "ws") + "/ws", additional_headers=origin, compression=None):
            return 101
    except InvalidStatus as refusal:
        return int(refusal.response.status_code)


def post(web: Web, path: str, body: dict[str, Any], **headers: str) -> tuple[int, dict[str, Any]]:
    """A REST call of somebody without an account."""
    connection = HTTPConnection(urlsplit(web.url).netloc, timeout=20)
    try:
        words = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST", f"/api/v1{path}", json.dumps(body), {"Content-Type": "application/json", **words})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


@pytest.mark.parametrize(("server", "status"), [("daphne", 403), ("uvicorn", 429)])
async def test_an_address_shakes_hands_so_often(chat: Chat, server: str, status: int) -> None:
    """Counted for the client's address, which a header cannot forge unless a trusted proxy wrote it."""
    limit = {"LIMIT_HANDSHAKES": "5/1000"}
    proxied = chat.web("proxied", server=server, environment={**BEHIND_A_PROXY, **limit})
    direct = chat.web("direct", server=server, environment={"TRUSTED_NETWORKS": "", **limit})
    address, other = own_address(), own_address()
    assert [await shake_hands(proxied, X_Forwarded_For=address) for _ in range(6)] == [101] * 5 + [status]
    # What the client itself wrote in front of it does not help.
    assert await shake_hands(proxied, X_Forwarded_For=f"{other}, {address}") == status
    assert await shake_hands(proxied, X_Forwarded_For=other) == 101
    # Without a trusted proxy all that is said is said by 127.0.0.1.
    assert [await shake_hands(direct, X_Forwarded_For=own_address()) for _ in range(6)][-1] == status
    assert "Traceback" not in proxied.output() + direct.output()


async def test_a_developer_s_machine_is_free_of_the_limits_by_address(chat: Chat) -> None:
    web = chat.web(environment={"LIMIT_HANDSHAKES": "1/1000"})
    assert [await shake_hands(web) for _ in range(5)] == [101] * 5


async def test_a_person_has_so_many_sockets_on_all_servers(chat: Chat) -> None:
    """One more is accepted, so that a browser can read why, and closed at once."""
    limit = {"MAX_SOCKETS": "3"}
    first, second = chat.web("web1", environment=limit), chat.web("web2", environment=limit)
    alice, bob = chat.tokens(2).values()
    async with AsyncExitStack() as sockets:
        clients = [await sockets.enter_async_context(ChatClient(web.url, alice)) for web in (first, second, first)]
        for client in clients:
            await client.until(lambda client: client.of_type("welcome"))
        for web in (first, second):
            async with ChatClient(web.url, alice) as fourth:
                assert (await fourth.closed(), fourth.of_type("welcome")) == (4009, [])
        async with ChatClient(second.url, bob) as other:
            await other.until(lambda client: client.of_type("welcome"))
    # A place is given back with its socket; the server may still be at it.
    async with asyncio.timeout(20):
        while not await is_welcome(first, alice):
            pass


async def is_welcome(web: Web, token: str) -> bool:
    async with ChatClient(web.url, token) as client:
        await client.until(lambda client: client.frames)
        return bool(client.of_type("welcome"))


async def test_frames_of_a_socket_and_joins_of_a_person_are_limited(chat: Chat) -> None:
    """Answered with the frame's id, and after fifty such answers the socket is closed."""
    web = chat.web(environment={"LIMIT_FRAMES": "20/20000", "LIMIT_JOINS": "2/2000"})
    alice, bob = chat.tokens(2).values()
    rooms = [create_room(web.url, alice) for _ in range(3)]
    async with ChatClient(web.url, bob) as client:
        answers = [await client.subscribe(room) for room in rooms]
        assert [answer["type"] for answer in answers] == ["subscribed", "subscribed", "error"]
        assert (answers[2]["code"], answers[2]["retry_after"] >= 1) == ("rate_limited", True)
        # Who is a member already joins nothing.
        assert (await client.subscribe(rooms[0]))["type"] == "subscribed"
    async with ChatClient(web.url, bob) as client:
        await client.subscribe(rooms[0])
        answers = [await client.ask({"type": "unsubscribe", "room": 1}) for _ in range(25)]
        assert [answer["type"] for answer in answers] == ["unsubscribed"] * 19 + ["error"] * 6
        assert {(answer["code"], answer["retry_after"] >= 1) for answer in answers[19:]} == {("rate_limited", True)}
        await client.say(rooms[0], "messages have a limit of their own")
        for number in range(50):
            await client.send({"type": "typing", "room": number})
        assert await client.closed() == 4009


async def test_without_redis_limits_hold_in_each_server_and_nothing_waits_or_fails(
    chat: Chat, chat_stack: DevStack
) -> None:
    limit = {
        "LIMIT_HANDSHAKES": "8/8000",
        "LIMIT_ROOMS": "2/2000",
        "LIMIT_SIGN_IN_FAILURES": "2/2000",
        "MAX_SOCKETS": "2",
    }
    web = chat.web(environment={**BEHIND_A_PROXY, **limit})
    (name, token), *_ = chat.tokens(1).items()
    address = own_address()
    await asyncio.to_thread(chat_stack.stop, "redis")
    try:
        async with asyncio.timeout(60), AsyncExitStack() as sockets:
            clients = [await sockets.enter_async_context(ChatClient(web.url, token)) for _ in range(3)]
            assert await clients[2].closed() == 4009
            room = await asyncio.to_thread(create_room, web.url, token)
            assert (await clients[0].subscribe(room))["type"] == "subscribed"
            await clients[0].say(room, "still here")
            statuses = [await shake_hands(web, X_Forwarded_For=address) for _ in range(9)]
            assert statuses == [101] * 8 + [403]
            guess = {"id": name, "password": "a guess"}
            answers = [await asyncio.to_thread(post, web, "/tokens", guess, X_Forwarded_For=address) for _ in range(3)]
            assert [status for status, _ in answers] == [401, 401, 429]
            assert answers[2][1]["retry_after"] >= 1
    finally:
        await asyncio.to_thread(chat_stack.start, "redis")
    assert web.output().count("Each process counts by itself") == 1
    assert "Traceback" not in web.output()

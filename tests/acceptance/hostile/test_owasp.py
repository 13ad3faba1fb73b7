"""OWASP's WebSocket Security Cheat Sheet, a test for each demand that no other test is for.

The others: authorisation of every frame and of what is under way, `tests/acceptance/test_access.py`; validation of
input, `test_frames_fuzz.py`; the size of frames and their rate, `tests/acceptance/test_messages.py`; slow readers,
`tests/acceptance/test_slow_readers.py`; compression and broken frames, `test_bytes.py`; no deserialisation that runs
code, `tests/unit/test_architecture.py` and `tests/integration/test_security.py`.
"""

import asyncio
import json
import time
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest
from django.core import signing
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from accounts.tokens import SALT
from tests.acceptance.client import ChatClient
from tests.acceptance.hostile.raw import RawSocket
from tests.acceptance.hostile.world import PASSWORD, Caller, World

# Three processes start for the first test.
pytestmark = pytest.mark.timeout(300)

DEADLINE = 20.0  # seconds


def dial(url: str, **headers: str) -> Any:
    """A connection that is made when it is awaited or entered; `None` for a header that is left out."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return connect(
        url.replace("http", "ws", 1) + ("" if "/ws" in url else "/ws"), additional_headers=names, compression=None
    )


async def hear(socket: ClientConnection) -> list[str]:
    """All that comes until the socket has ended."""
    async with asyncio.timeout(DEADLINE):
        heard = []
        with suppress(ConnectionClosed):
            async for text in socket:
                heard.append(str(text))
        return heard


async def is_welcome(url: str, **headers: str) -> bool:
    try:
        async with dial(url, **headers) as socket:
            async with asyncio.timeout(DEADLINE):
                return bool(json.loads(await socket.recv())["type"] == "welcome")
    except InvalidStatus as refusal:
        # 400: the server library's, for what is no Origin at all.
        assert refusal.response.status_code in {400, 403}
        return False


@pytest.fixture(scope="module")
def browser(world: World) -> Caller:
    """Somebody with a session cookie."""
    return Caller(world.url, "session")


async def test_a_page_of_the_server_may_open_the_socket_with_its_cookie(world: World, browser: Caller):
    """What the refusals below are measured against."""
    assert await is_welcome(world.url, Cookie=browser.cookies(), Origin=world.url)
    assert await is_welcome(world.url, Cookie=browser.cookies(), Origin=world.url.upper())


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "{scheme}://evil.example",
        "{scheme}://{host}.evil.example:{port}",
        "{scheme}://evil{host}:{port}",
        "{scheme}://{host}:{port}.evil.example",
        "{scheme}://{host}:1",
        "{scheme}://{host}",
        "ftp://{host}:{port}",
        "file://{host}:{port}",
        "chrome-extension://{host}:{port}",
        "{scheme}://{host}:{port}@evil.example",
        "{scheme}://evil.example@{host}:{port}",
        "{scheme}://{host}:{port}/",
        "{scheme}://{host}:{port}/evil.example",
        "{scheme}://{host}:{port}#evil.example",
        "{scheme}://{host}:{port} {scheme}://evil.example",
        "//{host}:{port}",
        "{host}:{port}",
    ],
)
async def test_no_other_page_may_use_the_cookie(world: World, browser: Caller, origin: str):
    """Cross-site WebSocket hijacking; the Origin is compared as a whole."""
    origin = origin.format(scheme="http", host="127.0.0.1", port=world.web.port)
    assert not await is_welcome(world.url, Cookie=browser.cookies(), Origin=origin)


async def test_a_handshake_without_an_origin_may_not_use_the_cookie(world: World, browser: Caller):
    """Every browser sends one."""
    assert not await is_welcome(world.url, Cookie=browser.cookies())


def test_a_name_that_leads_here_is_no_host_of_ours(world: World, browser: Caller):
    """DNS rebinding: a foreign page whose own name now leads to this server is of the same origin, as it says."""
    for name, status in (("evil.example", b"403"), (f"127.0.0.1:{world.web.port}", b"101")):
        with RawSocket(world.web.port) as raw:
            head = raw.request({"Cookie": browser.cookies(), "Origin": f"http://{name}", "Host": name})
            assert head.split(b" ")[1] == status


@pytest.mark.parametrize("name", ["token", "access_token", "authorization", "Authorization", "jwt", "session"])
async def test_a_token_in_the_url_is_no_token(world: World, name: str):
    """URLs end up in logs and histories."""
    url = f"{world.url}/ws?{name}={world.person.token}"
    async with dial(url, Origin=world.url) as socket:
        assert await hear(socket) == [] and socket.close_code == 4001


async def test_nobody_is_told_nothing_and_heard_nothing(world: World):
    """The socket of somebody who is not known is closed at once, whatever it has sent already."""
    async with dial(world.url, Origin=world.url) as socket:
        with suppress(ConnectionClosed):
            await socket.send(json.dumps({"type": "subscribe", "id": "1", "room": world.open}))
        assert await hear(socket) == [] and socket.close_code == 4001


async def test_a_session_s_end_closes_its_socket(world: World):
    """Signing out here, while the connection lives."""
    browser = Caller(world.url, "session")
    async with dial(world.url, Cookie=browser.cookies(), Origin=world.url) as socket:
        await socket.recv()
        await asyncio.to_thread(browser.do, "DELETE", "/session")
        await hear(socket)
        assert socket.close_code == 4001


async def test_a_token_s_end_closes_its_socket(world: World):
    """Tokens expire also while the connection lives."""
    person = world.chat.query("SELECT id FROM accounts_user WHERE username = %s", world.person.name)[0][0]
    claims = {"u": person, "g": 0, "e": int(time.time()) + 10}
    token = signing.dumps(claims, key=world.chat.environment["SECRET_KEY"], salt=SALT)
    async with ChatClient(world.url, token) as client:
        assert (await client.subscribe(world.own))["type"] == "subscribed"
        assert await client.closed() == 4001
    async with ChatClient(world.url, token) as client:
        assert await client.closed() == 4001 and not client.of_type("welcome")


async def test_what_people_write_and_sign_in_with_is_in_no_log(world: World):
    """Texts, names, passwords and tokens, accepted or refused."""
    secret = f"secret-{uuid4().hex[:12]}"
    person = world.person
    async with ChatClient(world.url, person.token) as client:
        await client.subscribe(world.own)
        await client.say(world.own, secret)
        for frame in ({"type": secret}, {"type": "send", "id": secret, "room": world.own}, secret, secret.encode()):
            await client.send(frame)
        await client.until(lambda client: len(client.of_type("error")) == 4)
    for method, path, body in (
        ("POST", "/rooms", {"name": secret, "kind": "private"}),
        ("POST", "/rooms", {"name": secret + "\x1b[31m", "kind": secret}),
        ("POST", f"/rooms/{world.own}/messages", {"id": secret, "text": secret}),
        ("GET", f"/rooms?q={secret}", None),
        ("GET", f"/{secret}", None),
        ("PUT", f"/rooms/{world.own}/members/{secret}", None),
        ("POST", "/session", {"id": secret, "password": secret}),
        ("POST", "/tokens", {"id": person.name, "password": secret}),
        ("POST", "/tokens", {"id": person.name, "password": PASSWORD}),
    ):
        await asyncio.to_thread(person.ask, method, path, body)
    await asyncio.to_thread(person.http.get, f"{world.url}/{secret}?{secret}")
    await asyncio.to_thread(person.http.get, world.url, headers={"Host": f"{secret}.example"})
    await world.assert_well()
    for process in world.processes:
        log = process.output()
        assert [word for word in (secret, PASSWORD, person.token) if word in log] == [], log[-3000:]


async def test_the_socket_carries_one_protocol_only(world: World):
    """What is asked for besides is not agreed to, so nothing is tunnelled."""
    url = world.url.replace("http", "ws", 1) + "/ws"
    headers = {"Authorization": f"Bearer {world.person.token}"}
    async with connect(url, additional_headers=headers, subprotocols=["mqtt", "chat.v1", "ssh"]) as socket:  # type: ignore[list-item]  # a Subprotocol is a str
        assert socket.subprotocol == "chat.v1"
    async with connect(url, additional_headers=headers, subprotocols=["mqtt"]) as socket:  # type: ignore[list-item]
        assert socket.subprotocol is None


async def test_one_cannot_pass_for_somebody_else(world: World):
    """Whose message it is, and when it was said, the server says."""
    async with ChatClient(world.url, world.person.token) as client:
        await client.subscribe(world.own)
        forged = {"type": "send", "room": world.own, "text": f"hello {uuid4()}", "sender": world.stranger.name,
                  "sender_id": 1, "time": "2000-01-01T00:00:00.000Z", "cursor": "0-0-0"}  # fmt: skip
        await client.ask(forged)
        seen = await client.until(lambda c: [f for f in c.of_type("message") if f["text"] == forged["text"]])
        assert seen[0]["sender"] == world.person.name and seen[0]["time"] > "2001" and seen[0]["cursor"] != "0-0-0"

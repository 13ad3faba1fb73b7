"""What no client library sends: the connection ends with a code of RFC 6455, or goes on; everybody else is served."""

import asyncio
import json
import zlib
from collections.abc import AsyncIterator
from contextlib import ExitStack

import pytest
import pytest_asyncio

from tests.acceptance.client import ChatClient
from tests.acceptance.hostile.raw import BINARY, CONTINUATION, PING, PONG, TEXT, RawSocket, encode
from tests.acceptance.hostile.world import World

# Three processes start for the first test.
pytestmark = pytest.mark.timeout(300)

# RFC 6455: protocol error, unsupported, no UTF-8, policy, too big. None: the connection just ended.
ENDS = {1002, 1003, 1007, 1008, 1009, None}
UNKNOWN = json.dumps({"type": "nothing", "id": "1"}).encode()


@pytest_asyncio.fixture(autouse=True)
async def _well_afterwards(world: World) -> AsyncIterator[None]:
    yield
    await world.assert_well()


BROKEN = {
    "no UTF-8": encode(TEXT, b"\xff\xfe"),
    "half a character": encode(TEXT, b'{"type":"\xed\x95'),
    "a surrogate as UTF-8": encode(TEXT, b"\xed\xa0\x80"),
    "a compressed frame": encode(TEXT, zlib.compress(b"\0" * 1_000_000), rsv=4),
    "reserved bits": encode(TEXT, UNKNOWN, rsv=3),
    "an unknown opcode": encode(0x3, b"x"),
    "a continuation of nothing": encode(CONTINUATION, b"x"),
    "a text within a text": encode(TEXT, b"{", fin=False) + encode(TEXT, b"}"),
    "a ping that is too long": encode(PING, b"x" * 126),
    "a ping in parts": encode(PING, b"x", fin=False),
    "a frame of 2 MiB": encode(TEXT, b"x" * 2_097_152),
    "a frame that says it has 2**62 bytes": b"\x81\xff" + (2**62).to_bytes(8) + bytes(4),
    "a length with its highest bit set": b"\x81\xff" + (2**63).to_bytes(8) + bytes(4),
    "a message of 2 MiB in parts": encode(TEXT, b"x", fin=False) + encode(CONTINUATION, b"x" * 65_536, fin=False) * 32,
    "a frame without a mask": b"\x81\x01x",
    "HTTP": b"GET / HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("sent", BROKEN.values(), ids=BROKEN)
def test_what_is_no_websocket_ends_the_connection(world: World, sent: bytes):
    with RawSocket(world.web.port).open(world.person.token) as raw:
        try:
            raw.write(sent)
        except ConnectionError:
            return  # ended while it was still coming
        assert raw.close_code() in ENDS


def test_a_frame_of_many_parts_is_one_frame(world: World):
    parts = [encode(CONTINUATION, bytes([byte]), fin=False) for byte in UNKNOWN[1:-1] + b" " * 5000]
    with RawSocket(world.web.port).open(world.person.token) as raw:
        raw.write(b"".join([encode(TEXT, UNKNOWN[:1], fin=False), *parts, encode(CONTINUATION, UNKNOWN[-1:])]))
        assert_refused(raw, "1")


def test_a_binary_frame_is_refused_and_the_socket_stays(world: World):
    with RawSocket(world.web.port).open(world.person.token) as raw:
        raw.frame(BINARY, UNKNOWN)
        assert_refused(raw, None)
        raw.frame(TEXT, UNKNOWN)
        assert_refused(raw, "1")


def assert_refused(raw: RawSocket, id: str | None) -> None:
    while True:
        opcode, payload = raw.read_frame()
        frame = json.loads(payload) if opcode == TEXT else {}
        if frame.get("type") == "error":
            assert (frame["id"], frame["code"]) == (id, "invalid")
            return


async def test_a_flood_of_pings_holds_nobody_up(world: World):
    def flood() -> int:
        with RawSocket(world.web.port).open(world.person.token) as raw:
            for _ in range(20):
                raw.write(encode(PING, b"x") * 250)
            count = 0
            while count < 5000:
                count += raw.read_frame()[0] == PONG
            return count

    flooding = asyncio.create_task(asyncio.to_thread(flood))
    async with ChatClient(world.url, world.stranger.token) as other:
        assert (await other.subscribe(world.open))["type"] == "subscribed"
        await other.say(world.open, "through the flood")
    assert await flooding == 5000


async def test_connections_that_ask_for_nothing_hold_nobody_up(world: World):
    """Half of them have begun to ask. The server library ends them after a minute."""
    with ExitStack() as life:
        for number in range(200):
            raw = life.enter_context(RawSocket(world.web.port))
            if number % 2:
                raw.write(b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        await world.assert_well()


HANDSHAKES = {
    "a host that this is not": {"Host": "elsewhere.example"},
    "a broken host": {"Host": "a b/c@d:x"},
    "no key": {"Sec-WebSocket-Key": ""},
    "a version of tomorrow": {"Sec-WebSocket-Version": "99"},
    "a version that is no number": {"Sec-WebSocket-Version": "x"},
    "an enormous header": {"X-Long": "x" * 200_000},
    "many headers": {f"X-{number}": "x" for number in range(2000)},
    "a broken origin": {"Origin": "http://[::1"},
    "an origin of bytes": {"Origin": "\xff\xfe"},
    "a cookie of nonsense": {"Cookie": "sessionid=\x01; =; ;;", "Origin": "http://127.0.0.1"},
    "a session that is none": {"Cookie": "sessionid=" + "x" * 4000, "Origin": "http://127.0.0.1"},
}


@pytest.mark.parametrize("headers", HANDSHAKES.values(), ids=HANDSHAKES)
def test_a_bad_handshake_is_refused(world: World, headers: dict[str, str]):
    with RawSocket(world.web.port) as raw:
        try:
            head = raw.request(headers)
        except ConnectionError:
            return  # ended while it was still coming
        if head.startswith(b"HTTP/1.1 101 "):
            assert raw.close_code() == 4001, "nobody is told so on an accepted socket"
        else:
            assert head == b"" or head.split(b" ")[1] in {b"400", b"403", b"426", b"431"}, head


@pytest.mark.parametrize("token", ["", "x", "\xff", "x" * 8000, ":::", "eyJ1IjoxfQ:1:x"])
def test_a_token_that_is_none_is_nobody(world: World, token: str):
    with RawSocket(world.web.port) as raw:
        head = raw.request({"Authorization": f"Bearer {token}"})
        assert head.startswith(b"HTTP/1.1 101 "), head
        assert raw.close_code() == 4001


def test_compression_is_not_agreed_to(world: World):
    """A small frame could become a large text; `open` looks at the answer."""
    offer = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}
    with RawSocket(world.web.port).open(world.person.token, **offer) as raw:
        raw.frame(TEXT, UNKNOWN)
        assert_refused(raw, "1")

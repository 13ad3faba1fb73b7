"""Random frames at a running server, on the socket of somebody who has a neighbour with secrets."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, seed
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from accounts.errors import ErrorCode
from messaging.protocol import CloseCode
from tests.acceptance.hostile.world import MARKER, World
from tests.fuzzing import SEED, examples, frames, texts

# Three processes start for the first test.
pytestmark = pytest.mark.timeout(300)

DEADLINE = 60.0  # seconds for up to 70 frames
# 1003, 1007, 1009: the server library's, for frames that are none.
CLOSES = {*map(int, CloseCode), 1003, 1007, 1009}
ANSWERS = {code.value for code in ErrorCode} - {"internal"}
FRAME_TYPES = {
    "welcome", "subscribed", "unsubscribed", "ack", "error", "message", "edited", "deleted", "notice", "joined",
    "left", "presence", "typing", "room_created", "room_updated", "room_deleted", "unread", "removed", "ping",
    "reconnect",
}  # fmt: skip


def test_no_frame_makes_the_server_fail_or_tell_what_is_private(world: World):
    """The socket answers with a documented code, or closes with one, and goes on serving others."""
    said = [world.person.say(world.own, "hello"), world.stranger.say(world.open, "hello"),
            world.recluse.say(world.hidden, MARKER)]  # fmt: skip
    rooms = [world.open, world.own, world.hidden, 2**40]
    coming = frames(
        rooms, [str(uuid4()), *(message["id"] for message in said)], [message["cursor"] for message in said]
    )

    @seed(SEED)
    @examples(100)
    @given(sent=st.lists(texts(coming) | st.binary(max_size=20), min_size=1, max_size=70))
    def attempt(sent: list[str | bytes]) -> None:
        world.recluse.say(world.hidden, MARKER)
        got, close = asyncio.run(converse(world, sent))
        assert close is None or close in CLOSES
        assert {frame["type"] for frame in got} <= FRAME_TYPES
        assert {frame["code"] for frame in got if frame["type"] == "error"} <= ANSWERS
        assert MARKER not in json.dumps(got)

    attempt()
    asyncio.run(world.assert_well())


async def converse(world: World, sent: list[str | bytes]) -> tuple[list[Any], int | None]:
    """Send all this, wait until the server has handled it, and return what came, with the code when it has closed."""
    got: list[Any] = []
    url = world.url.replace("http", "ws", 1) + "/ws"
    headers = {"Authorization": f"Bearer {world.person.token}"}
    async with connect(url, additional_headers=headers, compression=None) as socket:
        end = f"end-{uuid4()}"
        try:
            async with asyncio.timeout(DEADLINE):
                for frame in sent:
                    await socket.send(frame.encode("utf-8", "replace").decode() if isinstance(frame, str) else frame)
                await socket.send(json.dumps({"type": "subscribe", "id": end, "rooms": True}))
                while not any(frame.get("id") == end for frame in got):
                    received = json.loads(await socket.recv())
                    got.extend(received if isinstance(received, list) else [received])
        except ConnectionClosed:
            return got, socket.close_code
    return got, None

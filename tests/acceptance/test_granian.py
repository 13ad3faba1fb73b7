"""A smoke test of the third server."""

import asyncio
import urllib.request

from tests.acceptance.chat import Chat, create_room
from tests.acceptance.client import ChatClient
from tests.acceptance.processes import free_port


async def test_people_talk_on_granian_and_are_sent_away_by_a_drain_request(chat: Chat):
    """It leaves its workers no time when it stops, so the stop command asks for the drain first."""
    port = free_port()
    web = chat.web(server="granian", environment={"METRICS_PORT": str(port)})
    alice, bob = chat.tokens(2).values()
    room = create_room(web.url, alice)
    async with ChatClient(web.url, alice) as one, ChatClient(web.url, bob) as two:
        await one.subscribe(room)
        await two.subscribe(room)
        await one.say(room, "hello")
        await two.until(lambda client: client.texts(room) == ["hello"])
        await asyncio.to_thread(drain, port)
        assert [await client.closed() for client in (one, two)] == [4012, 4012]
        assert one.of_type("reconnect") and two.of_type("reconnect")
    async with ChatClient(web.url, alice) as late:
        assert (await late.closed(), late.of_type("welcome")) == (4012, [])
    assert not await asyncio.to_thread(web.is_ready)


def drain(port: int) -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/drain", method="POST")
    with urllib.request.urlopen(request, timeout=30) as response:
        assert response.status == 204

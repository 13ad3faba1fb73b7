"""The Python client with real servers."""

import asyncio
from collections.abc import Callable

import pytest

from chatclient import Backoff, ChatClient, Frame, Lost, Refused
from tests.acceptance.chat import Chat, create_room
from tests.acceptance.processes import free_port

# Two servers start, and the client may take more than a minute for its drops.
pytestmark = pytest.mark.timeout(300)

DROPS = 50
PAUSE = 0.005  # seconds between two messages: 200 a second
AT_ONCE = 50  # more would be under way on a machine that is busy with other tests


async def test_a_client_that_drops_and_resumes_on_alternating_servers_sees_everything_once(chat: Chat):
    one, two = chat.web("one"), chat.web("two")
    chat.event_consumer()
    talker_token, dropper_token = chat.tokens(2).values()
    room = create_room(one.url, talker_token)
    seen: list[Frame] = []
    at_once = Backoff(draw=lambda: 0.0)
    dropper = ChatClient([one.url, two.url], dropper_token, on_event=seen.append, backoff=at_once)
    async with asyncio.timeout(100), ChatClient(one.url, talker_token) as talker, dropper:
        await dropper.subscribe(room)
        talking = asyncio.create_task(talk(talker, room))
        for drop in range(DROPS):
            # Some have come over this connection.
            await until(lambda drop=drop: dropper.counters.connections > drop and len(seen) > 3 * drop)
            dropper.drop()
        talking.cancel()
        acknowledged = await talking
        await until(lambda: len(texts(seen)) >= len(acknowledged))
    assert texts(seen) == acknowledged
    assert dropper.counters.repeats == 0
    assert not [event for event in seen if event["type"] in {"gap", "refused"}]


async def talk(client: ChatClient, room: int) -> list[str]:
    """Talk until cancelled; return what was said, all of it acknowledged."""
    sending: list[tuple[str, asyncio.Task[Frame]]] = []
    places = asyncio.Semaphore(AT_ONCE)
    try:
        while True:
            await places.acquire()
            text, task = str(len(sending)), asyncio.create_task(client.send(room, str(len(sending))))
            task.add_done_callback(lambda _: places.release())
            sending.append((text, task))
            await asyncio.sleep(PAUSE)
    except asyncio.CancelledError:
        await asyncio.gather(*(task for _, task in sending))
    return [text for text, _ in sending]


def texts(events: list[Frame]) -> list[str]:
    return [event["text"] for event in events if event["type"] == "message"]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 (the client knows no event for it)
            await asyncio.sleep(0.005)


async def test_a_caller_reads_the_history(chat: Chat):
    web = chat.web()
    chat.event_consumer()
    (token,) = chat.tokens(1).values()
    room = create_room(web.url, token)
    async with asyncio.timeout(60), ChatClient(web.url, token) as client:
        for n in range(3):
            await client.send(room, str(n))
        await asyncio.to_thread(chat.wait_stored, room, ["0", "1", "2"])
        page = await client.history(room, limit=2)
        assert texts(page["items"]) == ["1", "2"]
        assert texts((await client.history(room, before=page["before"]))["items"]) == ["0"]
        with pytest.raises(Refused, match="not_found"):
            await client.history(room + 1000)


async def test_without_a_server_the_history_is_lost():
    with pytest.raises(Lost):
        await ChatClient(f"http://127.0.0.1:{free_port()}", "token").history(1)

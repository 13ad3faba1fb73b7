"""A service goes away under a running chat and comes back: said in the protocol's words, and mended by itself."""

import asyncio
import urllib.error
from uuid import uuid4

import pytest

from devstack import DevStack
from tests.acceptance.chat import Chat, call, create_room
from tests.acceptance.client import ChatClient, Frame
from tests.acceptance.processes import wait_for

# A service is stopped and started in each of them.
pytestmark = pytest.mark.timeout(300)


async def test_without_postgresql_calls_and_frames_are_unavailable_until_it_is_back(
    chat: Chat, chat_stack: DevStack
) -> None:
    web = chat.web()
    (token,) = chat.tokens(1).values()
    room, other = create_room(web.url, token), create_room(web.url, token)
    async with ChatClient(web.url, token) as client:
        await client.subscribe(room)
        await asyncio.to_thread(chat_stack.stop, "postgres")
        try:
            answer = await client.subscribe(other)
            assert (answer["type"], answer["code"]) == ("error", "unavailable")
            with pytest.raises(urllib.error.HTTPError) as refusal:
                await asyncio.to_thread(call, web.url, token, "GET", "/rooms")
            with refusal.value as problem:
                assert problem.code == 503
            await client.say(room, "rights that are known hold on")
            assert not await asyncio.to_thread(web.is_ready)
            # A server may take too long for a handshake when it has just noticed.
            newcomer = await ChatClient(web.url, token).enter()
            try:
                assert (await newcomer.closed(), newcomer.of_type("welcome")) == (4012, [])
            finally:
                await newcomer.__aexit__()
        finally:
            await asyncio.to_thread(chat_stack.start, "postgres")
        async with asyncio.timeout(30):
            while (await client.subscribe(other))["type"] != "subscribed":
                pass
        await asyncio.to_thread(wait_for, web.is_ready, "the web process is ready again")
        assert "Traceback" not in web.output()


def test_without_kafka_nobody_is_ready_and_the_logs_stay_readable(chat: Chat, chat_stack: DevStack) -> None:
    web, events = chat.web(), chat.event_consumer()
    wait_for(lambda: "Assigned" in events.output(), "the event consumer reads")
    chat_stack.stop("kafka")
    try:
        wait_for(lambda: not web.is_ready(), "the probe says that Kafka is away")
        wait_for(lambda: "Kafka: " in events.output(), "an operator can read what is away")
    finally:
        chat_stack.start("kafka")
    wait_for(web.is_ready, "the web process is ready again")
    for process in (web, events):
        strangers = [line for line in process.output().splitlines() if line.startswith("%")]
        assert strangers == [], "librdkafka wrote into the log by itself, dozens of lines a second."


async def resend(client: ChatClient, frame: Frame) -> None:
    """Until it is acknowledged: while storage catches up the outcome may still be unknown."""
    answer = None
    while answer is None or answer["type"] != "ack":
        assert answer is None or answer["code"] in {"unavailable", "unknown"}
        answer = await client.ask({**frame, "retry": True})


async def test_without_kafka_senders_hear_so_in_time_and_their_resends_are_seen_and_stored_once(
    chat: Chat, chat_stack: DevStack
) -> None:
    web = chat.web()
    chat.event_consumer()
    (alice,) = chat.tokens(1).values()
    room = create_room(web.url, alice)
    frames: list[Frame] = [{"type": "send", "id": str(uuid4()), "room": room, "text": f"{n}"} for n in range(10)]
    async with ChatClient(web.url, alice) as client:
        await client.subscribe(room)
        await client.say(room, "before")
        await asyncio.to_thread(chat_stack.stop, "kafka")
        try:
            # librdkafka gives a message up after 5 s, and may look for it a second later.
            async with asyncio.timeout(15):
                answers = await asyncio.gather(*map(client.ask, frames))
            assert {answer.get("code") for answer in answers} <= {"unavailable", "unknown"}
        finally:
            await asyncio.to_thread(chat_stack.start, "kafka")
        await asyncio.to_thread(wait_for, web.is_ready, "the web process is ready again")
        async with asyncio.timeout(60):
            for frame in frames:
                await resend(client, frame)
        await client.say(room, "after")
        expected = ["after", "before", *(frame["text"] for frame in frames)]
        await client.until(lambda client: len(client.texts(room)) >= len(expected))
        await asyncio.to_thread(wait_for, lambda: "after" in chat.stored(room), "all is stored")
        assert sorted(client.texts(room)) == sorted(chat.stored(room)) == sorted(expected)

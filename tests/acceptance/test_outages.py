"""A service goes away under a running chat and comes back: said in the protocol's words, and mended by itself."""

import asyncio
import urllib.error

import pytest

from devstack import DevStack
from tests.acceptance.chat import Chat, call, create_room
from tests.acceptance.client import ChatClient


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
            assert (await client.say(room, "rights that are known hold on"))["type"] == "ack"
            assert not await asyncio.to_thread(web.is_ready)
        finally:
            await asyncio.to_thread(chat_stack.start, "postgres")
        async with asyncio.timeout(30):
            while (await client.subscribe(other))["type"] != "subscribed":
                pass
        assert await asyncio.to_thread(web.is_ready)

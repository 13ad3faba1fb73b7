"""A blocked person's words are hidden: live, resumed and in the history, on every server, from one person only."""

import asyncio
from time import monotonic

from tests.acceptance.chat import Chat, call, create_room
from tests.acceptance.client import ChatClient
from tests.acceptance.processes import wait_for
from tests.acceptance.promise import missing, until_it_holds


async def test_what_a_blocked_person_says_reaches_the_others_only(chat: Chat):
    first, second = chat.web("web1"), chat.web("web2")
    chat.event_consumer()  # and no poller: the AccessChange rows must do
    (_, alice), (bob_name, bob), (_, carol) = chat.tokens(3).items()
    room = create_room(first.url, alice)
    async with (
        ChatClient(first.url, alice) as a, ChatClient(second.url, alice) as a2,
        ChatClient(second.url, bob) as b, ChatClient(second.url, carol) as c,
    ):  # fmt: skip
        for client in (a, a2, b, c):
            await client.subscribe(room)
        start = (await b.say(room, "before"))["cursor"]
        for client in (a, a2):
            await client.until(lambda client: client.texts(room) == ["before"])
        await asyncio.to_thread(chat.wait_storing, room)
        await asyncio.to_thread(call, first.url, alice, "PUT", f"/me/blocks/{bob_name}")
        answered = monotonic()

        async def is_hidden() -> bool:
            return await missing(b, c, room, a, a2) == [a, a2]

        await until_it_holds(is_hidden, answered=answered)
        for client in (a, a2):
            client.frames.clear()
        hidden = (await b.say(room, "hidden"))["message"]
        edit = await b.ask({"type": "edit", "room": room, "message": hidden, "text": "hidden again"})
        assert edit["type"] == "ack", edit
        await c.say(room, "seen")
        for client in (a, a2):
            await client.until(lambda client: client.texts(room) == ["seen"])
            assert client.of_type("edited") == []
        await c.until(lambda client: client.of_type("edited"))
        assert "hidden" in c.texts(room)

        # Resumed, and read from the history.
        async with ChatClient(second.url, alice) as again:
            await again.subscribe(room, after=start)
            await again.until(lambda client: "seen" in client.texts(room))
            assert bob_name not in {frame["sender"] for frame in again.of_type("message")}
        await asyncio.to_thread(wait_for, lambda: "seen" in chat.stored(room), "all is stored")
        page = await asyncio.to_thread(call, first.url, alice, "GET", f"/rooms/{room}/messages?limit=200")
        assert bob_name not in {frame.get("sender") for frame in page["items"]}

        await asyncio.to_thread(call, first.url, alice, "DELETE", f"/me/blocks/{bob_name}")
        answered = monotonic()

        async def is_seen() -> bool:
            return await missing(b, c, room, a, a2) == []

        await until_it_holds(is_seen, answered=answered)

"""Somebody who is erased, as those see it who are connected."""

import asyncio
from typing import Any

from tests.acceptance.browser import PASSWORD, Browser
from tests.acceptance.chat import Chat, call, create_room
from tests.acceptance.client import ChatClient
from tests.acceptance.processes import wait_for


async def test_an_erased_person_is_gone_from_live_clients_and_from_history(chat: Chat):
    """The event consumer does it; the other server's sockets close; nothing of the person is left to read."""
    here, there = chat.web("web1"), chat.web("web2")
    chat.poller()
    chat.event_consumer()
    ((_, owner),) = chat.tokens(1).items()
    room = await asyncio.to_thread(create_room, here.url, owner)
    victim = await asyncio.to_thread(Browser().sign_up, here.url)

    def read() -> dict[str, Any]:
        return call(here.url, owner, "GET", f"/rooms/{room}/messages")  # type: ignore[no-any-return]

    def has_joined() -> bool:
        return any(item.get("event") == "member_joined" and item["user"] == victim.user for item in read()["items"])

    async with (
        ChatClient(there.url, owner) as other,
        ChatClient(there.url, headers=victim.socket_headers(there.url)) as own,
    ):
        await other.subscribe(room)
        await own.subscribe(room)
        ack = await own.say(room, "My address is 7 Main Street")
        await other.until(lambda client: client.texts(room))
        await asyncio.to_thread(chat.wait_stored, room, ["My address is 7 Main Street"])
        # What is stored later is met by the second pass only, after more than a minute.
        await asyncio.to_thread(wait_for, has_joined, "the notice of the victim's coming is stored")
        await victim.acall(here.url, "DELETE", "/me/data", {"password": PASSWORD})
        assert victim.status == 204
        assert await own.closed() == 4003
        (deleted,) = await other.until(lambda client: client.of_type("deleted"))
        assert deleted["message"] == ack["message"] and deleted["by"].startswith("erased-")
        left = await other.until(lambda c: [f for f in c.of_type("notice") if f["event"] == "member_left"])
        assert left[0]["user"] == deleted["by"]

    await asyncio.to_thread(wait_for, lambda: victim.user not in str(read()), "the name is gone from the history")
    page = await asyncio.to_thread(read)
    assert "Main Street" not in str(page)
    assert [row["sender"] for row in page["items"] if row["type"] == "message"] == [deleted["by"]]

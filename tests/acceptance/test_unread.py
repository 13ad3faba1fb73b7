"""Unread counts, live and exact, and read marks that follow a person, on two servers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

from tests.acceptance.chat import Chat, call, create_room
from tests.acceptance.client import ChatClient
from tests.acceptance.promise import until_it_holds

MARKED = 2.0  # seconds after which marks are written at the latest
SLACK = 8.0  # seconds for the transaction, Kafka and the frame on a busy machine


@asynccontextmanager
async def following(url: str, token: str) -> AsyncIterator[ChatClient]:
    async with ChatClient(url, token) as client:
        await client.ask({"type": "subscribe", "rooms": True})
        yield client


def counts(client: ChatClient, room: int) -> list[int]:
    return [frame["count"] for frame in client.of_type("unread") if frame["room"] == room]


def last_count(client: ChatClient, room: int, count: int) -> bool:
    return counts(client, room)[-1:] == [count]


async def rest(url: str, token: str, method: str, path: str, body: Any = None) -> Any:
    return await asyncio.to_thread(call, url, token, method, path, body)


async def test_what_is_said_counts_for_members_who_do_not_see_it_and_a_mark_follows_them(chat: Chat):
    first, second = chat.web("web1"), chat.web("web2")
    chat.event_consumer()
    (_, alice), (bob, bobs) = chat.tokens(2).items()
    room = create_room(first.url, alice)
    await rest(first.url, bobs, "PUT", f"/rooms/{room}/membership")
    async with (
        ChatClient(first.url, alice) as speaker,
        following(first.url, alice) as own,
        following(first.url, bobs) as desk,
        following(second.url, bobs) as phone,
    ):
        await speaker.subscribe(room)
        for text in ("one", "two", "three"):
            ack = await speaker.say(room, text)
        for client in (desk, phone):
            await client.until(lambda c: last_count(c, room, 3))
            message = client.of_type("unread")[-1]["last_message"]
            assert (message["text"], message["cursor"]) == ("three", ack["cursor"])
        # What alice said is nothing to read for her.
        await own.until(lambda c: last_count(c, room, 0))
        assert set(counts(own, room)) == {0}
        await desk.send({"type": "read", "room": room, "cursor": ack["cursor"]})
        await phone.until(lambda c: last_count(c, room, 0), deadline=MARKED + SLACK)
        assert (await rest(second.url, bobs, "GET", f"/rooms/{room}"))["unread"] == 0
        # A mark does not go back, and who sees the room needs no count.
        await desk.send({"type": "read", "room": room, "cursor": "1-0-0"})
        await phone.subscribe(room)
        told = len(counts(phone, room))
        await speaker.say(room, "four")
        await desk.until(lambda c: last_count(c, room, 1))
        assert len(counts(phone, room)) == told
    assert chat.query("SELECT joined_seq FROM rooms_membership m JOIN accounts_user u ON u.id = m.user_id"
                      " WHERE u.username = %s", bob) == [(0,)]  # fmt: skip


async def test_a_mark_by_rest_is_there_when_it_is_answered(chat: Chat):
    web = chat.web()
    chat.event_consumer()
    alice, bob = chat.tokens(2).values()
    room = create_room(web.url, alice)
    await rest(web.url, bob, "PUT", f"/rooms/{room}/membership")
    async with ChatClient(web.url, alice) as speaker, following(web.url, bob) as reader:
        await speaker.subscribe(room)
        first = await speaker.say(room, "one")
        second = await speaker.say(room, "two")
        await asyncio.to_thread(chat.wait_storing, room, 2)
        await rest(web.url, bob, "PUT", f"/rooms/{room}/read", {"cursor": first["cursor"]})
        assert (await rest(web.url, bob, "GET", f"/rooms/{room}"))["unread"] <= 1
        await rest(web.url, bob, "PUT", f"/rooms/{room}/read", {"cursor": second["cursor"]})
        assert (await rest(web.url, bob, "GET", f"/rooms/{room}"))["unread"] == 0
        await reader.until(lambda c: last_count(c, room, 0))
        await rest(web.url, bob, "PUT", f"/rooms/{room}/read", {"cursor": first["cursor"]})
        assert (await rest(web.url, bob, "GET", f"/rooms/{room}"))["unread"] == 0


async def test_a_private_room_s_news_are_for_its_members_only(chat: Chat):
    web = chat.web()
    chat.event_consumer()
    (_, owner), (name, member), (_, stranger) = chat.tokens(3).items()
    room, public = create_room(web.url, owner, kind="private"), create_room(web.url, owner)
    await rest(web.url, stranger, "PUT", f"/rooms/{public}/membership")
    async with (
        ChatClient(web.url, owner) as speaker,
        following(web.url, member) as inside,
        following(web.url, stranger) as outside,
    ):
        for each in (room, public):
            await speaker.subscribe(each)
        # Added while following, and removed again.
        await rest(web.url, owner, "PUT", f"/rooms/{room}/members/{name}")
        await speaker.say(room, "secret")
        await inside.until(lambda c: last_count(c, room, 1))
        await rest(web.url, owner, "DELETE", f"/rooms/{room}/members/{name}")
        answered = monotonic()

        async def is_refused() -> bool:
            return (await inside.try_to_say(room, "still here?"))["type"] == "error"

        await until_it_holds(is_refused, answered=answered)
        # The room was not open, so it is the list that is told.
        await inside.until(lambda c: c.of_type("removed"))
        assert inside.of_type("removed") == [{"type": "removed", "room": room, "reason": "kicked"}]
        # What was told before the removal may be on its way; behind it nothing follows.
        await speaker.say(room, "more secret")
        await speaker.say(public, "for everybody")
        await outside.until(lambda c: last_count(c, public, 1))
        assert counts(outside, room) == []
        texts = [frame["last_message"]["text"] for frame in inside.of_type("unread") if frame["room"] == room]
        assert "more secret" not in texts
        # One must be a member to have read anything.
        await outside.send({"type": "read", "room": room, "cursor": "1-0-0"})
        (refusal,) = await outside.until(lambda c: c.of_type("error"))
        assert refusal["code"] in {"not_found", "invalid"}


async def test_marks_survive_postgresql_and_a_server_that_stops(chat: Chat):
    """What was read just before a server stops is written on its way out."""
    web = chat.web()
    chat.event_consumer()
    alice, bob = chat.tokens(2).values()
    room = create_room(web.url, alice)
    await rest(web.url, bob, "PUT", f"/rooms/{room}/membership")
    async with ChatClient(web.url, alice) as speaker, ChatClient(web.url, bob) as reader:
        await speaker.subscribe(room)
        await reader.subscribe(room)
        ack = await speaker.say(room, "one")
        await asyncio.to_thread(chat.wait_stored, room, ["one"])
        await reader.send({"type": "read", "room": room, "cursor": ack["cursor"]})
        await reader.ask({"type": "unsubscribe", "room": room})  # what stands before it was handled
        await asyncio.to_thread(web.stop)
    marks = "SELECT read_seq FROM rooms_membership WHERE room_id = %s ORDER BY id"
    assert chat.query(marks, room)[1] == (1,)

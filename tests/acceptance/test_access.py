"""Who loses a right loses it on every server, on live sockets too."""

import asyncio

import pytest
from websockets.exceptions import InvalidStatus

from tests.acceptance.chat import Chat, call, create_room
from tests.acceptance.client import ChatClient, Frame
from tests.acceptance.promise import PROMISED, SLACK


async def test_sockets_on_every_server_close_when_their_person_signs_out_everywhere(chat: Chat):
    first, second = chat.web("web1"), chat.web("web2")  # and no poller: the AccessChange rows must do
    (token,) = chat.tokens(1).values()
    async with ChatClient(first.url, token) as one, ChatClient(second.url, token) as two:
        await one.until(lambda client: client.of_type("welcome"))
        await two.until(lambda client: client.of_type("welcome"))
        await asyncio.to_thread(call, first.url, token, "DELETE", "/sessions")
        codes = await asyncio.gather(*[client.closed(deadline=PROMISED + SLACK) for client in (one, two)])
        assert codes == [4001, 4001]
    async with ChatClient(first.url, token) as client:
        assert await client.closed() == 4001
        assert client.of_type("welcome") == []


async def test_a_kicked_member_sees_and_says_nothing_more(chat: Chat):
    web = chat.web()  # and no poller
    (_, owner), (name, member) = chat.tokens(2).items()
    room = create_room(web.url, owner, kind="private")
    await asyncio.to_thread(call, web.url, owner, "PUT", f"/rooms/{room}/members/{name}")
    async with ChatClient(web.url, owner) as one, ChatClient(web.url, member) as two:
        await one.subscribe(room)
        assert (await two.subscribe(room))["type"] == "subscribed"
        await asyncio.to_thread(call, web.url, owner, "DELETE", f"/rooms/{room}/members/{name}")
        removed = await two.until(lambda client: client.of_type("removed"), deadline=PROMISED + SLACK)
        assert removed == [{"type": "removed", "room": room, "reason": "kicked"}]
        assert (await two.try_to_say(room, "still here?"))["code"] == "not_found"
        await one.say(room, "without you")
        assert (await two.subscribe(room))["code"] == "not_found"
        assert two.texts(room) == []


async def test_a_stranger_learns_nothing_of_a_private_room(chat: Chat):
    web = chat.web()
    chat.event_consumer()
    chat.poller()
    owner, stranger = chat.tokens(2).values()
    async with ChatClient(web.url, stranger) as client, ChatClient(web.url, owner) as own:
        for each in (client, own):
            await each.ask({"type": "subscribe", "rooms": True})
        room = await asyncio.to_thread(create_room, web.url, owner, kind="private")
        public = await asyncio.to_thread(create_room, web.url, owner)
        await own.until(lambda c: {room, public} <= {f["room"]["id"] for f in c.of_type("room_created")})
        await client.until(lambda c: public in [f["room"]["id"] for f in c.of_type("room_created")])
        assert room not in [frame["room"]["id"] for frame in client.of_type("room_created")]
        assert (await client.subscribe(room))["code"] == "not_found"
        assert (await client.try_to_say(room, "hello?"))["code"] == "not_found"
        for gone in (room, public):
            await asyncio.to_thread(call, web.url, owner, "DELETE", f"/rooms/{gone}")
        await own.until(lambda c: {room, public} <= {frame["room"] for frame in c.of_type("room_deleted")})
        deleted = await client.until(lambda c: c.of_type("room_deleted"))
        assert deleted == [{"type": "room_deleted", "room": public}]


async def test_one_must_be_a_member_to_speak_in_a_public_room(chat: Chat):
    web = chat.web()
    owner, visitor = chat.tokens(2).values()
    room = create_room(web.url, owner)
    async with ChatClient(web.url, visitor) as client:
        assert (await client.try_to_say(room, "hello?"))["code"] == "not_member"
        await client.subscribe(room)
        await client.say(room, "hello!")


async def test_there_is_one_path_for_websockets_and_another_is_refused_without_a_fuss(chat: Chat):
    web = chat.web()
    (token,) = chat.tokens(1).values()
    with pytest.raises(InvalidStatus) as refusal:
        await ChatClient(f"{web.url}/elsewhere", token).__aenter__()
    assert refusal.value.response.status_code == 403
    assert "Traceback" not in web.output()


async def test_a_direct_room_appears_in_the_lists_of_both_under_the_others_name(chat: Chat):
    web = chat.web()
    chat.event_consumer()
    chat.poller()
    (one, first), (two, second), (_, third) = chat.tokens(3).items()
    async with ChatClient(web.url, first) as a, ChatClient(web.url, second) as b, ChatClient(web.url, third) as c:
        for client in (a, b, c):
            await client.ask({"type": "subscribe", "rooms": True})
        room = (await asyncio.to_thread(call, web.url, first, "POST", "/direct", {"user": two}))["id"]
        for client, name in ((a, two), (b, one)):
            created = await client.until(direct_rooms)
            assert {(frame["room"]["id"], frame["room"]["name"]) for frame in created} == {(room, name)}
            assert (await client.subscribe(room))["type"] == "subscribed"
        await a.say(room, "hello")
        await b.until(lambda client: client.texts(room) == ["hello"])
        assert (await c.subscribe(room))["code"] == "not_found" and direct_rooms(c) == []


def direct_rooms(client: ChatClient) -> list[Frame]:
    """Those that the list was told of; public ones of other tests may still come."""
    return [frame for frame in client.of_type("room_created") if frame["room"]["kind"] == "direct"]

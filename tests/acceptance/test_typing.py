"""Who is typing: told to the room, seldom, and only by who may speak there."""

import asyncio

from tests.acceptance.chat import Chat, call, create_room
from tests.acceptance.client import ChatClient


async def test_who_types_is_told_to_the_room_on_every_server_once_in_a_while(chat: Chat):
    first, second = chat.web("web1"), chat.web("web2")
    (alice, token), (_, bob) = chat.tokens(2).items()
    room = create_room(first.url, token)
    async with ChatClient(first.url, token) as writer, ChatClient(second.url, bob) as reader:
        await writer.subscribe(room)
        await reader.subscribe(room)
        for _ in range(5):
            await writer.send({"type": "typing", "room": room})
        await writer.say(room, "done")
        await reader.until(lambda client: client.texts(room) and client.of_type("typing"))
        # What both groups carried has come when the next round of each has.
        await reader.send({"type": "typing", "room": room})
        await writer.until(lambda client: len(client.of_type("typing")) == 2)
        mine = [frame for frame in writer.of_type("typing") if frame["user"] == alice]
        assert mine == [{"type": "typing", "room": room, "user": alice}]


async def test_who_may_not_speak_does_not_type(chat: Chat):
    web = chat.web()
    (_, owner), (name, member), (_, stranger) = chat.tokens(3).items()
    room, public = create_room(web.url, owner, kind="private"), create_room(web.url, owner)
    await asyncio.to_thread(call, web.url, owner, "PUT", f"/rooms/{room}/members/{name}")
    mute = "UPDATE rooms_membership SET muted_until = now() + interval '1 hour' WHERE room_id = %s AND role = 'member'"
    chat.query(f"{mute} RETURNING id", room)
    async with ChatClient(web.url, member) as muted, ChatClient(web.url, stranger) as outside:
        for client, target, code in (
            (muted, room, "muted"),
            (outside, room, "not_found"),
            (outside, public, "not_member"),
        ):
            await client.send({"type": "typing", "room": target})
            await client.until(lambda c, code=code: [f["code"] for f in c.of_type("error")][-1:] == [code])


async def test_in_a_large_room_nobody_types(chat: Chat):
    web = chat.web()
    (_, owner), (_, member) = chat.tokens(2).items()
    room, small = create_room(web.url, owner), create_room(web.url, owner)
    chat.query("INSERT INTO rooms_membership (room_id, user_id, role, joined_at, joined_seq, read_seq)"
               " SELECT %s, id, 'member', now(), 0, 0 FROM accounts_user WHERE username = ANY(%s) RETURNING id",
               room, list(chat.tokens(100)))  # fmt: skip
    async with ChatClient(web.url, owner) as writer, ChatClient(web.url, member) as reader:
        for each in (room, small):
            await writer.subscribe(each)
            await reader.subscribe(each)
        await writer.send({"type": "typing", "room": room})
        await writer.send({"type": "typing", "room": small})
        await reader.until(lambda client: client.of_type("typing"))
        assert [frame["room"] for frame in reader.of_type("typing")] == [small]

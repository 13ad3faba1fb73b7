"""Editing and deleting, as people on two servers see it."""

import asyncio
import uuid
from typing import Any

from tests.acceptance.chat import Chat, call, create_room
from tests.acceptance.client import ChatClient, Frame
from tests.acceptance.processes import wait_for
from tests.acceptance.test_resume import long_texts, say_all

CHANGES = ("edited", "deleted")


def edit(client: ChatClient, room: int, message: str, text: str, **more: str) -> Any:
    return client.ask({"type": "edit", "room": room, "message": message, "text": text, **more})


def delete(client: ChatClient, room: int, message: str, **more: str) -> Any:
    return client.ask({"type": "delete", "room": room, "message": message, **more})


def acknowledged(answer: Frame) -> Frame:
    assert answer["type"] == "ack", answer
    return answer


def stream(client: ChatClient, room: int) -> list[Frame]:
    """What a client was shown of a room's log, in order."""
    return [frame for frame in client.of_type("message", *CHANGES) if frame["room"] == room]


def history(url: str, token: str, room: int) -> list[Frame]:
    items = call(url, token, "GET", f"/rooms/{room}/messages")["items"]
    return [item for item in items if item["type"] == "message"]


async def test_all_see_edits_and_deletions_in_one_order_and_history_shows_the_final_state(chat: Chat):
    first, second = chat.web("web1"), chat.web("web2")
    chat.event_consumer()
    (alice, alice_token), (bob, bob_token) = chat.tokens(2).items()
    room = create_room(first.url, alice_token)
    async with ChatClient(first.url, alice_token) as one, ChatClient(second.url, bob_token) as two:
        await one.subscribe(room)
        await two.subscribe(room)
        clients = {alice: one, bob: two}
        said = {name: [(await client.say(room, f"{name} {n}"))["message"] for n in range(6)]
                for name, client in clients.items()}  # fmt: skip
        await asyncio.to_thread(chat.wait_storing, room, 12)

        async def change_all(name: str, client: ChatClient) -> None:
            for n, message in enumerate(said[name][:5]):
                acknowledged(await edit(client, room, message, f"{name} {n}, edited"))
            for message in said[name][3:]:
                acknowledged(await delete(client, room, message))

        await asyncio.gather(*(change_all(*item) for item in clients.items()))
        last = await one.say(room, "the end")
        for client in clients.values():
            await client.until(lambda client: last["message"] in {f.get("id") for f in stream(client, room)})
        assert stream(one, room) == stream(two, room)
        offsets = [int(frame["cursor"].rsplit("-", 1)[1]) for frame in stream(one, room)]
        assert offsets == sorted(set(offsets))
        assert len([f for f in stream(one, room) if f["type"] in CHANGES]) == 16
        await asyncio.to_thread(
            wait_for, lambda: len(history(second.url, bob_token, room)) == 13, "all messages are stored"
        )
        for url, token in ((first.url, alice_token), (second.url, bob_token)):
            shown = {f["id"]: f for f in await asyncio.to_thread(history, url, token, room)}
            for name, messages in said.items():
                texts = [shown[message].get("text") for message in messages]
                assert texts == [*(f"{name} {n}, edited" for n in range(3)), None, None, None]
                assert [shown[m].get("edited_by") for m in messages] == [name] * 3 + [None] * 3
                assert [shown[m].get("deleted_by") for m in messages] == [None] * 3 + [name] * 3


async def test_only_authors_edit_and_only_authors_and_who_moderates_delete(chat: Chat):
    web = chat.web()
    chat.event_consumer()
    owner_token, bob_token = chat.tokens(2).values()
    room = create_room(web.url, owner_token)
    async with ChatClient(web.url, owner_token) as owner, ChatClient(web.url, bob_token) as member:
        assert (await edit(member, room, str(uuid.uuid4()), "x"))["code"] == "not_member"
        await owner.subscribe(room)
        await member.subscribe(room)
        of_owner = (await owner.say(room, "the owner's"))["message"]
        of_member = (await member.say(room, "the member's"))["message"]
        await asyncio.to_thread(chat.wait_storing, room, 2)
        assert (await edit(member, room, of_owner, "forged"))["code"] == "forbidden"
        assert (await edit(owner, room, of_member, "forged"))["code"] == "forbidden"
        assert (await delete(member, room, of_owner))["code"] == "forbidden"
        assert (await edit(owner, room, str(uuid.uuid4()), "x"))["code"] == "not_found"
        acknowledged(await delete(owner, room, of_member))
        # The server that acknowledged it reads it a moment later.
        await member.until(lambda client: client.of_type("deleted"))
        assert (await edit(member, room, of_member, "once more"))["code"] == "not_found"
        await member.until(lambda client: client.of_type("deleted"))
        assert [(f["type"], f.get("text")) for f in stream(member, room)] == [
            ("message", "the owner's"), ("message", "the member's"), ("deleted", None)
        ]  # fmt: skip


async def test_a_muted_person_may_delete_and_not_edit(chat: Chat):
    web = chat.web()
    chat.event_consumer()
    (_, owner_token), (bob, bob_token) = chat.tokens(2).items()
    room = create_room(web.url, owner_token)
    async with ChatClient(web.url, bob_token) as member:
        await member.subscribe(room)
        message = (await member.say(room, "rash"))["message"]
    await asyncio.to_thread(chat.wait_storing, room)
    mute = """UPDATE rooms_membership SET muted_until = now() + interval '1 hour' FROM accounts_user u
              WHERE u.id = user_id AND username = %s AND room_id = %s RETURNING 1"""
    assert chat.query(mute, bob, room)
    async with ChatClient(web.url, bob_token) as member:
        assert (await edit(member, room, message, "still rash"))["code"] == "muted"
        acknowledged(await delete(member, room, message))


async def test_a_repeat_is_seen_once_and_answered_with_the_first_cursor_by_who_has_read_it(chat: Chat):
    """A server that has not read the first one yet produces it again, and every reader drops it."""
    first, second = chat.web("web1"), chat.web("web2")
    chat.event_consumer()
    (token,) = chat.tokens(1).values()
    room = create_room(first.url, token)
    async with ChatClient(first.url, token) as one, ChatClient(second.url, token) as two:
        await one.subscribe(room)
        message = (await one.say(room, "one"))["message"]
        await asyncio.to_thread(chat.wait_storing, room)
        again = {"id": str(uuid.uuid4())}
        ack = acknowledged(await edit(two, room, message, "two", **again))
        acknowledged(await edit(one, room, message, "three"))
        await one.until(lambda client: len(stream(client, room)) == 3)
        assert acknowledged(await edit(one, room, message, "two", **again))["cursor"] == ack["cursor"]
        for answer in await asyncio.gather(delete(one, room, message), delete(two, room, message)):
            acknowledged(answer)
        await one.until(lambda client: client.of_type("deleted"))
        first_cursor = one.of_type("deleted")[0]["cursor"]
        assert acknowledged(await delete(one, room, message))["cursor"] == first_cursor
        await one.say(room, "the end")
        await one.until(lambda client: "the end" in client.texts(room))
        assert [(f["type"], f.get("text")) for f in stream(one, room)] == [
            ("message", "one"), ("edited", "two"), ("edited", "three"), ("deleted", None), ("message", "the end")
        ]  # fmt: skip


async def test_an_edit_is_refused_for_now_while_nothing_is_stored(chat: Chat):
    web = chat.web()  # and no event consumer
    (token,) = chat.tokens(1).values()
    room = create_room(web.url, token)
    async with ChatClient(web.url, token) as client:
        await client.subscribe(room)
        message = (await client.say(room, "one"))["message"]
        answer = await edit(client, room, message, "two")
        assert (answer["code"], answer["retry_after"] >= 1) == ("unavailable", True)
        chat.event_consumer()
        await asyncio.to_thread(chat.wait_stored, room, ["one"])
        acknowledged(await edit(client, room, message, "two"))


async def test_changes_are_resumed_from_memory_on_another_server(chat: Chat):
    first, second = chat.web("web1"), chat.web("web2")
    chat.event_consumer()
    alice, bob = chat.tokens(2).values()
    room = create_room(first.url, alice)
    async with ChatClient(first.url, alice) as one:
        await one.subscribe(room)
        async with ChatClient(second.url, bob) as two:
            await two.subscribe(room)
            old = [(await one.say(room, f"old {n}"))["message"] for n in range(2)]
            await two.until(lambda client: len(client.texts(room)) == 2)
            seen = stream(two, room)[-1]["cursor"]
        await asyncio.to_thread(chat.wait_storing, room, 2)
        await change_some(one, room, old)
        async with ChatClient(first.url, bob) as two:
            assert (await two.subscribe(room, after=seen))["recovered"] is True
            assert await until_the_end(two, room) == [
                ("edited", "edited once"), ("message", "new"), ("deleted", None), ("edited", "newer"),
                ("edited", "edited twice"), ("message", "the end"),
            ]  # fmt: skip


async def test_changes_are_resumed_from_storage_with_what_was_said(chat: Chat):
    """Beyond the memory of the server: messages in their final state, the last change of each, in the log's order."""
    web = chat.web()
    chat.event_consumer()
    alice, bob = chat.tokens(2).values()
    room = create_room(web.url, alice)
    async with ChatClient(web.url, alice) as one, ChatClient(web.url, bob) as two:
        await one.subscribe(room)
        old = [(await one.say(room, f"old {n}"))["message"] for n in range(2)]
        seen = await one.say(room, "seen")
        await asyncio.to_thread(chat.wait_storing, room, 3)
        await change_some(one, room, old)
        texts = long_texts()
        await say_all(one, room, texts)
        await asyncio.to_thread(chat.wait_storing, room, 3 + 2 + len(texts))
        answer = await two.subscribe(room, after=seen["cursor"])
        assert answer["recovered"] is True
        assert await until_the_end(two, room, say=one) == [
            ("message", "newer"), ("deleted", None), ("edited", "newer"), ("edited", "edited twice"),
            ("message", "the end"), *(("message", text) for text in texts), ("message", "the end"),
        ]  # fmt: skip


async def change_some(client: ChatClient, room: int, old: list[str]) -> None:
    """Two edits of the first old message and the deletion of the second, around a new one that is edited."""
    acknowledged(await edit(client, room, old[0], "edited once"))
    new = (await client.say(room, "new"))["message"]
    acknowledged(await delete(client, room, old[1]))
    acknowledged(await edit(client, room, new, "newer"))
    acknowledged(await edit(client, room, old[0], "edited twice"))
    await client.say(room, "the end")


async def until_the_end(client: ChatClient, room: int, *, say: ChatClient | None = None) -> list[tuple[str, Any]]:
    """What a client was shown up to the message that ends it, which `say` says first."""
    last = (await say.say(room, "the end"))["message"] if say else None
    await client.until(
        lambda client: any(f.get("text") == "the end" and last in (None, f["id"]) for f in stream(client, room))
    )
    return [(frame["type"], frame.get("text")) for frame in stream(client, room)]

import asyncio
import json
import signal
import uuid
from contextlib import AsyncExitStack, suppress
from urllib.error import HTTPError

import pytest
from websockets.exceptions import ConnectionClosed

import chatclient
from tests.acceptance.chat import Chat, call, create_room
from tests.acceptance.client import ChatClient


async def test_people_on_two_servers_see_the_same_messages_in_the_same_order(chat: Chat):
    first, second = chat.web("web1"), chat.web("web2")
    chat.event_consumer()
    (alice, alice_token), (bob, bob_token) = chat.tokens(2).items()
    room = create_room(first.url, alice_token)
    async with ChatClient(first.url, alice_token) as one, ChatClient(second.url, bob_token) as two:
        await one.subscribe(room)
        await two.subscribe(room)
        sends = [client.say(room, f"{name} {n}") for n in range(50) for name, client in ((alice, one), (bob, two))]
        await asyncio.gather(*sends)
        await one.until(lambda client: len(client.texts(room)) == 100)
        await two.until(lambda client: len(client.texts(room)) == 100)
        assert one.texts(room) == two.texts(room)
        assert len(set(one.texts(room))) == 100
        assert [text for text in one.texts(room) if text.startswith(alice)] == [f"{alice} {n}" for n in range(50)]
        chat.wait_stored(room, one.texts(room))


async def test_both_resume_on_another_server_without_a_gap_or_a_repeat_when_theirs_is_killed(chat: Chat):
    killed, other = chat.web("killed"), chat.web("other")
    chat.event_consumer()
    names = chat.tokens(2)
    room = create_room(killed.url, next(iter(names.values())))
    one, two = (Person(name, [killed.url, other.url], token) for name, token in names.items())
    async with asyncio.timeout(90), one.client, two.client:
        for person in (one, two):
            await person.client.subscribe(room)
        talks = [asyncio.create_task(person.talk(room, count=100)) for person in (one, two)]
        await asyncio.gather(one.seen(40), two.seen(40))
        killed.kill()
        await asyncio.gather(*talks)
        await asyncio.gather(one.seen(200), two.seen(200))
    assert one.texts == two.texts
    for name in names:
        assert [text for text in one.texts if text.startswith(f"{name} ")] == [f"{name} {n}" for n in range(100)]
    assert len(one.texts) == 200
    chat.wait_stored(room, one.texts)


class Person:
    """Somebody with the client that we give to others. `texts`: what it showed, gaps as `gap`."""

    def __init__(self, name: str, urls: list[str], token: str) -> None:
        self.name = name
        self.texts: list[str] = []
        self.client = chatclient.ChatClient(urls, token, on_event=self._take)
        self._changed = asyncio.Event()

    async def talk(self, room: int, *, count: int) -> None:
        """Say `count` messages, the next one when the one before is acknowledged."""
        for n in range(count):
            await self.client.send(room, f"{self.name} {n}")

    async def seen(self, count: int) -> None:
        while len(self.texts) < count:
            self._changed.clear()
            await self._changed.wait()

    def _take(self, event: chatclient.Frame) -> None:
        if event["type"] in {"message", "gap"}:
            self.texts.append(event.get("text", "gap"))
        self._changed.set()


@pytest.mark.timeout(300)
async def test_receivers_acknowledgements_and_history_agree_on_one_order(chat: Chat):
    """Twenty people say two hundred things each, at once, on two servers."""
    servers = [chat.web("web1").url, chat.web("web2").url]
    chat.event_consumer()
    tokens = chat.tokens(20)
    room = create_room(servers[0], next(iter(tokens.values())))
    people = [Person(name, [servers[n % 2]], token) for n, (name, token) in enumerate(tokens.items())]
    texts = [(person, f"{person.name} {n}") for n in range(200) for person in people]
    async with asyncio.timeout(200), AsyncExitStack() as stack:
        for person in people:
            await stack.enter_async_context(person.client)
            await person.client.subscribe(room)
        acks = await asyncio.gather(*(person.client.send(room, text) for person, text in texts))
        await asyncio.gather(*(person.seen(len(texts)) for person in people))
        order = people[0].texts
        await asyncio.to_thread(chat.wait_stored, room, order)
        history = await read_all(people[0].client, room)
    assert all(person.texts == order for person in people)
    assert sorted(order) == sorted(text for _, text in texts)
    for name in tokens:
        assert [text for text in order if text.startswith(f"{name} ")] == [f"{name} {n}" for n in range(200)]
    assert [frame["text"] for frame in history] == order
    cursors = {text: ack["cursor"] for (_, text), ack in zip(texts, acks, strict=True)}
    assert [frame["cursor"] for frame in history] == [cursors[text] for text in order]


async def read_all(client: chatclient.ChatClient, room: int) -> list[chatclient.Frame]:
    """The messages of a room, oldest first."""
    page = await client.history(room, limit=200)
    items = page["items"]
    while page["before"]:
        page = await client.history(room, limit=200, before=page["before"])
        items = page["items"] + items
    return [item for item in items if item["type"] == "message"]


@pytest.mark.timeout(300)
async def test_two_hundred_people_resume_elsewhere_when_their_server_is_killed(chat: Chat):
    killed, other = chat.web("killed"), chat.web("other")
    chat.event_consumer()
    tokens = chat.tokens(200)
    room = create_room(other.url, next(iter(tokens.values())))
    people = [Person(name, [killed.url, other.url], token) for name, token in tokens.items()]
    async with asyncio.timeout(200), AsyncExitStack() as stack:
        for person in people:
            await stack.enter_async_context(person.client)
            await person.client.subscribe(room)
        talks = [asyncio.create_task(person.talk(room, count=20)) for person in people[:10]]
        await asyncio.gather(*(person.seen(50) for person in people))
        killed.kill()
        await asyncio.gather(*talks)
        await asyncio.gather(*(person.seen(200) for person in people))
    order = people[0].texts
    assert len(order) == len(set(order)) == 200
    assert all(person.texts == order for person in people), "somebody missed something, or saw it twice"


async def test_a_resend_is_answered_with_the_first_cursor_on_every_server_and_over_rest(chat: Chat):
    """Also without `retry` it is seen and stored once; what is another message is a conflict."""
    first, second = chat.web("web1"), chat.web("web2")
    chat.event_consumer()
    alice, bob = chat.tokens(2).values()
    room, id = create_room(first.url, alice), str(uuid.uuid4())
    message = {"type": "send", "id": id, "room": room, "text": "once"}
    again = {**message, "retry": True}

    def post(token: str, body: chatclient.Frame) -> chatclient.Frame:
        return call(second.url, token, "POST", f"/rooms/{room}/messages", body)

    async with ChatClient(first.url, alice) as one, ChatClient(second.url, bob) as two:
        await one.subscribe(room)
        await two.subscribe(room)
        cursor = (await one.ask(message))["cursor"]
        assert (await one.ask(message))["type"] == "ack"
        assert (await asyncio.to_thread(post, alice, message))["id"] == id
    await asyncio.to_thread(chat.wait_storing, room)
    async with ChatClient(first.url, alice) as one, ChatClient(second.url, alice) as here:
        assert [(await client.ask(again))["cursor"] for client in (one, here)] == [cursor] * 2
        assert (await asyncio.to_thread(post, alice, again))["cursor"] == cursor
    async with ChatClient(first.url, alice) as one, ChatClient(second.url, bob) as other:
        assert (await one.ask({**again, "text": "twice"}))["code"] == "conflict"
        assert (await other.ask(again))["code"] == "conflict"
    with pytest.raises(HTTPError) as refusal:
        await asyncio.to_thread(post, bob, again)
    with refusal.value as problem:
        assert problem.code == 409
    last = str(uuid.uuid4())
    async with ChatClient(second.url, bob) as two:
        await two.subscribe(room, after=cursor)
        await two.ask({"type": "send", "id": last, "room": room, "text": "last"})
        await two.until(lambda client: client.texts(room) == ["last"])
    await asyncio.to_thread(chat.wait_stored, room, ["once", "last"])


@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
async def test_a_frame_may_be_too_large_and_one_that_is_much_too_large_ends_the_connection(chat: Chat, server: str):
    """64 KiB and 1 MiB."""
    web = chat.web(server=server)
    (alice,) = chat.tokens(1).values()
    async with ChatClient(web.url, alice) as client:
        await client.send(json.dumps({"type": "send", "text": "x" * 65_536}))
        error = await client.until(lambda client: client.of_type("error"))
        assert (error[0]["id"], error[0]["code"]) == (None, "too_large")
        assert (await client.ask({"type": "unsubscribe", "rooms": True}))["type"] == "unsubscribed"
        with suppress(ConnectionClosed):
            await client.send(json.dumps({"type": "send", "text": "x" * 2_000_000}))
        await client.closed()


async def test_who_writes_too_fast_is_told_when_to_go_on(chat: Chat):
    """On the socket and over REST alike, and other people are not concerned."""
    web = chat.web(environment={"LIMIT_MESSAGES": "5/500"})
    alice, bob = chat.tokens(2).values()
    room = create_room(web.url, alice)
    async with ChatClient(web.url, alice) as one, ChatClient(web.url, bob) as two:
        await one.subscribe(room)
        await two.subscribe(room)
        answers = await asyncio.gather(*(one.try_to_say(room, f"{n}") for n in range(8)))
        assert [answer["type"] for answer in answers] == ["ack"] * 5 + ["error"] * 3
        assert {(answer["code"], answer["retry_after"] >= 1) for answer in answers[5:]} == {("rate_limited", True)}
        await two.say(room, "not me")
    with pytest.raises(HTTPError) as refusal:
        await asyncio.to_thread(
            call, web.url, alice, "POST", f"/rooms/{room}/messages", {"id": str(uuid.uuid4()), "text": "me again"}
        )
    with refusal.value as problem:
        assert problem.code == 429
        assert int(problem.headers["Retry-After"]) >= 1


async def test_rooms_created_while_the_poller_stood_still_appear_in_order(chat: Chat):
    web = chat.web()
    chat.event_consumer()
    poller = chat.poller()
    alice, bob = chat.tokens(2).values()
    async with ChatClient(web.url, bob) as client:
        await client.ask({"type": "subscribe", "rooms": True})
        poller.stop()
        names = [f"Room {n} {uuid.uuid4().hex[:4]}" for n in range(20)]
        for name in names:
            await asyncio.to_thread(create_room, web.url, alice, name=name)
        assert shown(client, names) == []
        chat.poller()
        await client.until(lambda client: len(shown(client, names)) >= len(names), deadline=30)
        assert sorted(shown(client, names)) == sorted(names), "a room was shown twice or not at all"
    # Their records are on three partitions, so news of different rooms may overtake each other; the list has the order.
    page = await asyncio.to_thread(call, web.url, bob, "GET", f"/rooms?limit={len(names)}")
    assert [room["name"] for room in page["items"]] == names[::-1]


def shown(client: ChatClient, names: list[str]) -> list[str]:
    """Which of these rooms the room list was told of, in the order in which it was."""
    created = [frame["room"]["name"] for frame in client.of_type("room_created")]
    return [name for name in created if name in names]


async def test_a_sender_s_own_message_comes_back_with_the_cursor_of_its_acknowledgement(chat: Chat):
    web = chat.web()
    (token,) = chat.tokens(1).values()
    room = create_room(web.url, token)
    async with ChatClient(web.url, token) as client:
        await client.subscribe(room)
        ack = await client.say(room, "hello")
        message = await client.until(lambda client: client.of_type("message"))
        assert (message[0]["id"], message[0]["cursor"]) == (ack["message"], ack["cursor"])


async def test_a_web_process_stops_on_sigterm_also_with_people_on_it(chat: Chat):
    web = chat.web()
    (token,) = chat.tokens(1).values()
    async with ChatClient(web.url, token):
        web.signal(signal.SIGTERM)
        await asyncio.to_thread(web.stop)
    assert web.is_over()

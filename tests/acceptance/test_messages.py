import asyncio
import signal
import uuid
from contextlib import suppress

from websockets.exceptions import ConnectionClosed, WebSocketException

from tests.acceptance.chat import Chat, call, create_room
from tests.acceptance.client import ChatClient
from tests.acceptance.processes import Web


async def test_people_on_two_servers_see_the_same_messages_in_the_same_order(chat: Chat):
    first, second = chat.web("web1"), chat.web("web2")
    chat.event_consumer()
    (alice, alice_token), (bob, bob_token) = chat.tokens(2).items()
    room = create_room(first.url, alice_token)
    async with ChatClient(first.url, alice_token) as one, ChatClient(second.url, bob_token) as two:
        await one.subscribe(room)
        await two.subscribe(room)
        sends = [client.say(room, f"{name} {n}") for n in range(50) for name, client in ((alice, one), (bob, two))]
        answers = await asyncio.gather(*sends)
        assert {answer["type"] for answer in answers} == {"ack"}
        await one.until(lambda client: len(client.texts(room)) == 100)
        await two.until(lambda client: len(client.texts(room)) == 100)
        assert one.texts(room) == two.texts(room)
        assert len(set(one.texts(room))) == 100
        assert [text for text in one.texts(room) if text.startswith(alice)] == [f"{alice} {n}" for n in range(50)]
        chat.wait_stored(room, one.texts(room))


async def test_both_resume_without_a_gap_or_a_repeat_after_their_server_was_killed(chat: Chat):
    web = chat.web("killed")
    chat.event_consumer()
    tokens = chat.tokens(2)
    room = create_room(web.url, next(iter(tokens.values())))
    people = [Resilient(web, token, room) for token in tokens.values()]
    await asyncio.wait_for(asyncio.gather(*(person.connected() for person in people)), 30)
    talks = [
        asyncio.create_task(person.talk(f"{name} ", count=60)) for name, person in zip(tokens, people, strict=True)
    ]
    await asyncio.wait_for(people[0].said(20), 30)
    web.kill()
    await asyncio.to_thread(web.start)
    await asyncio.wait_for(asyncio.gather(*talks), 60)
    expected = {f"{name} {n}" for name in tokens for n in range(60)}
    for person in people:
        await asyncio.wait_for(person.seen_all(expected), 30)
        await person.stop()
        assert len(person.texts) == len(expected), "a message was shown twice to a client that drops known ids"
    assert people[0].texts == people[1].texts
    chat.wait_stored(room, people[0].texts)


class Resilient:
    """A client as protocol.md wants it: reconnects, resumes by cursor, resends unacknowledged messages with `retry`,
    and drops (room, id) pairs that it has seen."""

    def __init__(self, web: Web, token: str, room: int) -> None:
        self.web, self.token, self.room = web, token, room
        self.texts: list[str] = []
        self.repeats = 0
        self._seen: set[str] = set()
        self._cursor: str | None = None
        self._pending: dict[str, str] = {}
        self._acked = 0
        self._changed = asyncio.Condition()
        self._client: ChatClient | None = None
        self._connected = asyncio.Event()
        self._life = asyncio.create_task(self._live())

    async def talk(self, prefix: str, *, count: int) -> None:
        """Say `count` messages, one after the acknowledgement of the other."""
        for n in range(count):
            id = str(uuid.uuid4())
            self._pending[id] = f"{prefix}{n}"
            await self._say(id, retry=False)
            async with self._changed:
                await self._changed.wait_for(lambda id=id: id not in self._pending)

    async def connected(self) -> None:
        await self._connected.wait()

    async def said(self, count: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._acked >= count)

    async def seen_all(self, texts: set[str]) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: texts <= set(self.texts))

    async def stop(self) -> None:
        self._life.cancel()
        await asyncio.gather(self._life, return_exceptions=True)

    async def _say(self, id: str, *, retry: bool) -> None:
        if self._client is not None and self._connected.is_set():
            frame = {"type": "send", "id": id, "room": self.room, "text": self._pending[id], "retry": retry}
            # A connection that broke: the next one sends it again.
            with suppress(OSError, ConnectionClosed):
                await self._client.send(frame)

    async def _live(self) -> None:
        while True:
            try:
                async with ChatClient(self.web.url, self.token) as client:
                    self._client = client
                    await self._visit(client)
            except (TimeoutError, OSError, EOFError, WebSocketException, AssertionError):
                await asyncio.sleep(0.1)
            finally:
                self._connected.clear()

    async def _visit(self, client: ChatClient) -> None:
        answer = await client.subscribe(self.room, after=self._cursor)
        assert answer["type"] == "subscribed" and answer["recovered"]
        self._cursor = self._cursor or answer["cursor"]
        self._connected.set()
        for id in list(self._pending):
            await self._say(id, retry=True)
        read = 0
        while not client.of_type("closed"):
            await client.until(lambda client, read=read: len(client.frames) > read, deadline=60)
            for frame in client.frames[read:]:
                await self._take(frame)
                read += 1

    async def _take(self, frame: dict) -> None:
        async with self._changed:
            if frame["type"] in {"message", "notice"} and frame["id"] not in self._seen:
                self._seen.add(frame["id"])
                self._cursor = frame["cursor"]
                if frame["type"] == "message":
                    self.texts.append(frame["text"])
            elif frame["type"] == "error" and frame["code"] in {"unknown", "unavailable"}:
                await self._say(frame["id"], retry=True)
            elif frame["type"] == "ack" and self._pending.pop(frame["id"], None) is not None:
                self._acked += 1
            self._changed.notify_all()


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

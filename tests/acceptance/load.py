"""People who talk without a pause while something is broken, and what was acknowledged to them."""

import asyncio
import uuid
from contextlib import suppress
from typing import Self

from websockets.exceptions import ConnectionClosed, WebSocketException

from tests.acceptance.chat import Chat, call, create_room
from tests.acceptance.client import ChatClient
from tests.acceptance.processes import wait_for

PACE = 0.15  # seconds between two messages of a person
# Refusals after which a message is sent again.
PASSING = {"unavailable", "unknown", "rate_limited"}


class Load:
    """`async with Load(chat, url) as load`: three rooms, four people in each. Who gets no acknowledgement sends the
    same message again until there is one, also on a new connection."""

    def __init__(self, chat: Chat, url: str) -> None:
        self._chat = chat
        self._url = url
        # Room → id of an acknowledged message → its cursor.
        self.acked: dict[int, dict[str, str]] = {}
        self._answered = asyncio.Condition()
        self._stopping = asyncio.Event()
        self._people: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        tokens = list((await asyncio.to_thread(self._chat.tokens, 12)).values())
        for group in (tokens[:4], tokens[4:8], tokens[8:]):
            room = await asyncio.to_thread(create_room, self._url, group[0])
            self.acked[room] = {}
            for token in group:
                await asyncio.to_thread(call, self._url, token, "PUT", f"/rooms/{room}/membership")
                self._people.append(asyncio.create_task(self._talk(room, token)))
        await self.grow(20)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Everybody ends with an acknowledgement of the last message."""
        self._stopping.set()
        await asyncio.wait_for(asyncio.gather(*self._people), 60)

    @property
    def count(self) -> int:
        return sum(len(ids) for ids in self.acked.values())

    async def grow(self, by: int) -> None:
        """Return when so many more messages have been acknowledged."""
        target = self.count + by
        async with asyncio.timeout(60), self._answered:
            await self._answered.wait_for(lambda: self.count >= target)

    def stored(self) -> int:
        """How many messages of these rooms are rows."""
        sql = "SELECT count(*) FROM messaging_message WHERE room_id = ANY(%s) AND kind = 'message'"
        return int(self._chat.query(sql, list(self.acked))[0][0])

    def check_stored(self) -> None:
        """Each acknowledged message is stored once, at the place of its acknowledgement, with dense numbers in the
        rooms' order, and nothing else is stored."""
        wait_for(lambda: self.stored() >= self.count, f"{self.count} messages are stored")
        sql = """
            SELECT uid::text, concat_ws('-', epoch, partition, "offset"), seq FROM messaging_message
            WHERE room_id = %s AND kind = 'message' ORDER BY epoch, "offset"
        """
        for room, acked in self.acked.items():
            rows = self._chat.query(sql, room)
            assert [seq for *_, seq in rows] == list(range(1, len(rows) + 1)), f"room {room}: numbers with holes"
            assert len(rows) == len(acked), f"room {room}: {len(rows)} rows for {len(acked)} messages"
            assert {uid: cursor for uid, cursor, _ in rows} == acked, f"room {room}: rows are not what was acknowledged"

    async def _talk(self, room: int, token: str) -> None:
        """One person: connects again whenever the connection is lost."""
        # What waits for its acknowledgement: an id, and whether it was sent before.
        waiting: list[tuple[str, bool]] = []
        while waiting or not self._stopping.is_set():
            with suppress(TimeoutError, OSError, EOFError, WebSocketException, ConnectionClosed, AssertionError):
                async with ChatClient(self._url, token) as client:
                    while waiting or not self._stopping.is_set():
                        if not waiting:
                            waiting.append((str(uuid.uuid4()), False))
                        id, again = waiting.pop()
                        waiting.append((id, True))
                        if (cursor := await self._say(client, room, id, again=again)) is not None:
                            waiting.clear()
                            await self._note(room, id, cursor)
                        await asyncio.sleep(PACE)
            await asyncio.sleep(PACE)

    async def _note(self, room: int, id: str, cursor: str) -> None:
        async with self._answered:
            self.acked[room][id] = cursor
            self._answered.notify_all()

    async def _say(self, client: ChatClient, room: int, id: str, *, again: bool) -> str | None:
        """The cursor of the acknowledgement; None when it is to be tried again."""
        heard = len(client.frames)
        await client.send({"type": "send", "id": id, "room": room, "text": f"words {id}", "retry": again})
        answer = await client.until(
            lambda client: next((f for f in client.frames[heard:] if f.get("id") == id or f["type"] == "closed"), None)
        )
        if answer["type"] == "ack":
            return str(answer["cursor"])
        assert answer["type"] == "closed" or answer["code"] in PASSING, answer
        return None

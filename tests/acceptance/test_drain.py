"""A web process is stopped in order while people talk on it."""

import asyncio
import signal
import time
import uuid
from contextlib import suppress
from itertools import count

import pytest
from websockets.exceptions import ConnectionClosed

from tests.acceptance.chat import Chat, create_room
from tests.acceptance.client import ChatClient
from tests.acceptance.processes import Web

# 200 people enter two servers, and the first one takes its time to stop.
pytestmark = pytest.mark.timeout(300)

PEOPLE = 200
AT_ONCE = 25
# Each says the next thing when the last is acknowledged: three are enough for frames under way at any moment, and few
# enough for 200 clients in one process, which must say goodbye within the second that daphne gives them.
TALKERS = 3
DRAINED = 60.0  # seconds: three times what a server that stops waits for at most


class Person:
    """Somebody who is on one server until that says goodbye, and then goes on at another one."""

    def __init__(self, first: Web, second: Web, token: str, room: int) -> None:
        self.here, self.there = ChatClient(first.url, token), ChatClient(second.url, token)
        self.room = room
        self.said: list[str] = []  # what was acknowledged
        self.left_at = 0.0  # monotonic seconds

    async def enter(self) -> None:
        await self.here.enter()
        await self.here.subscribe(self.room)

    async def talk(self) -> None:
        """Say one thing after the other, up to the goodbye."""
        for number in count():
            id, text = str(uuid.uuid4()), f"{self.here.token[-8:]} {number}"
            with suppress(ConnectionClosed):
                await self.here.send({"type": "send", "id": id, "room": self.room, "text": text})
            await self.here.until(lambda c, id=id: c.is_answered(id) or c.has_ended)
            if self.here.has_ended:
                return
            self.said.append(text)

    async def move(self) -> None:
        """Stay to the end, then resume elsewhere."""
        await self.here.closed(deadline=DRAINED)
        await self.here.__aexit__()
        self.left_at = time.monotonic()
        await self.there.enter()
        cursor = [frame["cursor"] for frame in self.here.of_type("subscribed", "message", "notice")][-1]
        assert (await self.there.subscribe(self.room, after=cursor))["recovered"]

    def texts(self) -> list[str]:
        return self.here.texts(self.room) + self.there.texts(self.room)


@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
async def test_people_of_a_server_that_stops_go_on_elsewhere_without_an_error_or_a_loss(chat: Chat, server: str):
    stopping, staying = chat.web("stopping", server=server), chat.web("staying", server=server)
    tokens = list(chat.tokens(PEOPLE + 1).values())
    room = create_room(staying.url, tokens[0])
    people = [Person(stopping, staying, token, room) for token in tokens[1:]]
    # daphne gives a handshake up after 5 s, and 200 at once may take as long on a machine that is busy.
    for at in range(0, PEOPLE, AT_ONCE):
        await asyncio.gather(*(person.enter() for person in people[at : at + AT_ONCE]))
    async with ChatClient(staying.url, tokens[0]) as witness:
        await witness.subscribe(room)
        work = [asyncio.create_task(person.talk()) for person in people[:TALKERS]]
        await witness.until(lambda c: len(c.texts(room)) > 20 * TALKERS)
        work += [asyncio.create_task(person.move()) for person in people]
        started = time.monotonic()
        stopping.signal(signal.SIGTERM)
        await asyncio.gather(*work)
        await asyncio.to_thread(stopping.stop)
        took = time.monotonic() - started
        last = (await witness.say(room, "the end"))["message"]
        for client in (witness, *(person.there for person in people)):
            await client.until(lambda c: any(frame["id"] == last for frame in c.of_type("message")))
        everything = witness.texts(room)
        for person in people:
            assert person.here.close_code == 4012
            assert person.here.of_type("error") == []
            assert set(person.said) <= set(everything)
            assert person.texts() == everything[-len(person.texts()) :]
            await person.there.__aexit__()
    announced = [person.here.of_type("reconnect")[0]["after"] for person in people]
    left = [person.left_at - started for person in people]
    print(f"\n{server}: {len(everything)} messages; asked to leave after {min(announced)} to {max(announced)} s, left"
          f" after {min(left):.1f} to {max(left):.1f} s; stopped after {took:.1f} s")  # fmt: skip
    assert max(announced) - min(announced) > 1, "everybody would come back in the same moment"

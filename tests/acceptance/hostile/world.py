"""A running chat to be attacked: a person whose rights the attacker has, and a recluse whose things nobody may see."""

import asyncio
from typing import Any
from uuid import uuid4

import requests

from tests.acceptance.chat import Chat
from tests.acceptance.client import ChatClient

PASSWORD = "correct horse battery"
# Part of what the recluse has in private, and of the name; found in no answer to anybody else, and in no log.
MARKER = "hush-c4a1"


class Caller:
    """Who calls: nobody, a session, or a program with a token. `begin` makes somebody new of them."""

    def __init__(self, url: str, kind: str, *, prefix: str = "fuzz") -> None:
        self.url, self.kind, self.prefix = url, kind, prefix
        self.begin()

    def begin(self) -> None:
        self.name = f"{self.prefix}-{uuid4().hex[:6]}"
        self.http = requests.Session()
        self.headers: dict[str, str] = {}
        if self.kind == "nobody":
            return
        self.headers = {"X-CSRFToken": self.do("GET", "/session")["csrf_token"]}
        self.do("POST", "/users", {"id": self.name, "password": PASSWORD})
        self.headers = {"X-CSRFToken": self.do("GET", "/session")["csrf_token"]}
        if self.kind == "token":
            self.token = self.do("POST", "/tokens")["token"]
            self.http.cookies.clear()
            self.headers = {"Authorization": f"Bearer {self.token}"}

    def do(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.ask(method, path, body)
        assert answer.ok, f"{method} {path}: {answer.text}"
        return answer.json() if answer.content else None

    def ask(self, method: str, path: str, body: Any = None) -> requests.Response:
        return self.http.request(method, f"{self.url}/api/v1{path}", json=body, headers=self.headers, timeout=30)

    def create_room(self, kind: str, name: str) -> int:
        return int(self.do("POST", "/rooms", {"name": name, "kind": kind})["id"])

    def say(self, room: int, text: str) -> Any:
        return self.do("POST", f"/rooms/{room}/messages", {"id": str(uuid4()), "text": text})

    def cookies(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.http.cookies.items())


class World:
    """`person` has the room `own` and is a guest in `open`, which is the stranger's; `hidden` is the recluse's."""

    def __init__(self, chat: Chat) -> None:
        self.chat = chat
        self.web = chat.web()
        self.processes = [self.web, chat.poller(), chat.event_consumer()]
        self.url = self.web.url
        self.person, self.stranger = Caller(self.url, "token"), Caller(self.url, "token")
        self.recluse = Caller(self.url, "token", prefix=MARKER)
        self.own = self.person.create_room("private", "Own")
        self.open = self.stranger.create_room("public", "Open")
        self.hidden = self.recluse.create_room("private", f"{MARKER} room")
        self.hidden_message = self.recluse.say(self.hidden, f"{MARKER} text")["id"]
        chat.wait_stored(self.hidden, [f"{MARKER} text"])

    async def assert_well(self) -> None:
        """People see each other's messages as usual, and nothing failed on the way here."""
        text = f"all well {uuid4()}"
        async with ChatClient(self.url, self.person.token) as one, ChatClient(self.url, self.stranger.token) as two:
            for client in (one, two):
                assert (await client.subscribe(self.open))["type"] == "subscribed"
            await one.say(self.open, text)
            await two.until(lambda client: text in client.texts(self.open))
        log = await asyncio.to_thread(self.web.output)
        assert "Traceback" not in log and " ERROR " not in log, log[-3000:]
        assert MARKER not in log

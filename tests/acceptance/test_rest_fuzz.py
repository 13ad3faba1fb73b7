"""The REST door under random requests, judged by its own OpenAPI document."""

import json
import zlib
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import requests
import schemathesis
from hypothesis import seed
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from chatproject.api import api
from tests.acceptance.chat import Chat
from tests.fuzzing import SEED, examples

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.unsupported_method,
    checks.allow_header_conformance,
]
PASSWORD = "correct horse battery"
# Part of what somebody else has in private, and of that person's name; found in no answer.
MARKER = "hush-c4a1"
WHO = ["nobody", "session", "session", "token", "token"]
DOCUMENT = json.loads(json.dumps(api.get_openapi_schema(path_prefix="/api/v1/")))

schema = schemathesis.openapi.from_dict(DOCUMENT)


class Caller:
    """Who calls: nobody, a session, or a program with a token. Whoever is signed out by a call is somebody else from
    then on."""

    def __init__(self, url: str, kind: str, *, prefix: str = "fuzz") -> None:
        self.url, self.kind, self.prefix = url, kind, prefix
        self.begin()

    def begin(self) -> None:
        self.name = f"{self.prefix}-{uuid4().hex[:6]}"
        self.http = requests.Session()
        self.headers: dict[str, str] = {}
        if self.kind == "nobody":
            return
        credentials = {"id": self.name, "password": PASSWORD}
        self.headers = {"X-CSRFToken": self.do("GET", "/session")["csrf_token"]}
        self.do("POST", "/users", credentials)
        self.headers = {"X-CSRFToken": self.do("GET", "/session")["csrf_token"]}
        if self.kind == "token":
            token = self.do("POST", "/tokens")["token"]
            self.http.cookies.clear()
            self.headers = {"Authorization": f"Bearer {token}"}

    def do(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.ask(method, path, body)
        assert answer.ok, f"{method} {path}: {answer.text}"
        return answer.json() if answer.content else None

    def ask(self, method: str, path: str, body: Any = None) -> requests.Response:
        return self.http.request(method, f"{self.url}/api/v1{path}", json=body, headers=self.headers, timeout=30)


class World:
    """A running chat with one caller of each kind, and somebody whose things none of them may see."""

    def __init__(self, chat: Chat) -> None:
        self.web = chat.web()
        chat.poller()
        chat.event_consumer()
        self.stranger = Caller(self.web.url, "token")
        recluse = Caller(self.web.url, "token", prefix=MARKER)
        self.hidden = self._room(recluse, "private", f"{MARKER} room")
        self.open = self._room(self.stranger, "public", "Open")
        message = {"id": str(uuid4()), "text": f"{MARKER} text"}
        recluse.do("POST", f"/rooms/{self.hidden}/messages", message)
        chat.wait_stored(self.hidden, [message["text"]])
        self.callers = {kind: Caller(self.web.url, kind) for kind in ("nobody", "session", "token")}
        self.own = {kind: self._room(self.callers[kind], "public", "Own") for kind in ("session", "token")}

    def _room(self, owner: Caller, kind: str, name: str) -> int:
        return int(owner.do("POST", "/rooms", {"name": name, "kind": kind})["id"])

    def aim(self, case: Case) -> Caller:
        """Who makes this call, the same one whenever it is tried; and most calls meet rooms and people that there
        are."""
        chance = zlib.crc32(repr((case.path_parameters, case.query, case.body)).encode(errors="replace"))
        caller = self.callers[WHO[chance % len(WHO)]]
        targets = {
            "room_id": [self.hidden, self.open, self.own.get(caller.kind, self.open)],
            "username": [caller.name, self.stranger.name],
        }
        for name in set(targets).intersection(case.path_parameters or ()):
            choices = targets[name]
            if (pick := chance // len(WHO) % (len(choices) + 1)) < len(choices):
                case.path_parameters[name] = choices[pick]
        return caller

    def mend(self, caller: Caller) -> None:
        """Give back what a call has ended: the caller's sign-in, and a room of one's own."""
        if caller.kind == "nobody":
            caller.begin()
        elif (answer := caller.ask("GET", f"/rooms/{self.own[caller.kind]}")).status_code != 200:
            if answer.status_code != 404:
                caller.begin()
            self.own[caller.kind] = self._room(caller, "public", "Own")


@pytest.fixture(scope="module")
def world(chat_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    chat = Chat(chat_environment, tmp_path_factory.mktemp("fuzz"))
    world = World(chat)
    yield world
    chat.close()
    assert "Traceback" not in world.web.output()


@schema.parametrize()
@seed(SEED)
@examples(15)
def test_no_request_is_answered_otherwise_than_the_document_says(world: World, case: Case):
    caller = world.aim(case)
    response = case.call(base_url=world.web.url, session=caller.http, headers=caller.headers)
    assert MARKER not in response.text
    case.validate_response(response, checks=CHECKS)
    if case.method == "DELETE" or response.status_code == 401 or "password" in case.path:
        world.mend(caller)

"""People, rooms and doors for the tests of accounts and rooms."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import orjson
from django.db import connection
from django.test import Client

from accounts.errors import ChatError
from accounts.models import User
from accounts.services import register_user
from accounts.tokens import issue_token
from outbox.models import OutboxEvent

PASSWORD = "correct horse battery"


def make_person(username: str) -> User:
    return register_user(username=username, password=PASSWORD)


def events_of(aggregate: Any) -> list[tuple[int, str, str, str]]:
    """The outbox rows of an aggregate, in order: version, type, topic, key."""
    rows = OutboxEvent.objects.filter(aggregate_type=aggregate._meta.model_name, aggregate_id=str(aggregate.pk))
    return [(row.version, row.type, row.topic, row.key) for row in rows.order_by("version")]


def types_of(aggregate: Any) -> list[str]:
    """`chat.room.created.v1` as `room.created`."""
    return [type.removeprefix("chat.").removesuffix(".v1") for _, type, _, _ in events_of(aggregate)]


def at_once(calls: Iterable[Callable[[], Any]]) -> list[Any]:
    """Run the calls at the same time, each in a thread and on a connection of its own; results, or what was raised."""
    calls = list(calls)
    barrier = Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        try:
            barrier.wait(60)
            return call()
        except ChatError as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


class Door:
    """REST as a browser (cookies and CSRF are really checked), or with `token_of` as a program."""

    def __init__(self, token_of: User | None = None) -> None:
        self.client = Client(enforce_csrf_checks=True)
        self.headers = {"Authorization": f"Bearer {issue_token(token_of)[0]}"} if token_of else {}
        self.status = 0

    def get(self, path: str, **query: Any) -> Any:
        return self._read(self.client.get(f"/api/v1{path}", query, headers=self.headers))

    def call(self, method: str, path: str, body: Any = None, *, csrf: bool = True) -> Any:
        headers = dict(self.headers)
        if csrf and not self.headers:
            headers["X-CSRFToken"] = self.client.get("/api/v1/session").json()["csrf_token"]
        data = b"" if body is None else orjson.dumps(body)
        response = self.client.generic(method, f"/api/v1{path}", data, content_type="application/json", headers=headers)
        return self._read(response)

    def sign_in(self, username: str, password: str = PASSWORD) -> Any:
        return self.call("POST", "/session", {"id": username, "password": password})

    def _read(self, response: Any) -> Any:
        self.status = response.status_code
        body: Any = orjson.loads(response.content) if response.content else None
        if self.status >= 400:
            assert response.headers["Content-Type"] == "application/problem+json"
            assert body["status"] == self.status
        return body


def refused(door: Door, answer: Any) -> tuple[int, str]:
    """The status and the code of an error."""
    return door.status, answer["code"]

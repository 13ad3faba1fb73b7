"""Every cell of the table of who may do what, on a running server."""

import asyncio
import json
import urllib.error
import uuid
from collections.abc import Iterator
from itertools import count
from typing import Any

import psycopg
import pytest

from events.topics import TOPICS, Topic
from kafka_layer.partition import partition_of
from tests.acceptance.chat import Chat, call
from tests.acceptance.client import ChatClient
from tests.permissions import FRAMES, KINDS, REST, Action, filled

# What each person is in a room, besides those who are always there; None: nothing.
OWN_ROLES = {"moderator": "moderator", "member": "member", "muted": "member", "banned": None, "stranger": None}
NAMES = ("owner", "second", "other", "outsider", "barred", *OWN_ROLES)

ROOM = """INSERT INTO rooms_room (name, kind, owner_id, version, last_seq, created_at)
    VALUES ('Room', %s, %s, 0, 0, now()) RETURNING id"""
MEMBER = """INSERT INTO rooms_membership (room_id, user_id, role, muted_until, joined_at, joined_seq, read_seq)
    VALUES (%s, %s, %s, CASE WHEN %s THEN now() + interval '1 day' END, now(), 0, 0)"""
BAN = "INSERT INTO rooms_ban (room_id, user_id, reason) VALUES (%s, %s, '')"
MESSAGE = """INSERT INTO messaging_message
        (room_id, uid, kind, epoch, partition, "offset", sender_id, sender_name, text, time)
    VALUES (%s, %s, 'message', 0, 0, %s, %s, %s, 'words', now())"""

# Frames that are answered only when they are refused.
UNANSWERED = {"typing", "read"}
CLEAN = [
    "DELETE FROM messaging_report r USING messaging_message m WHERE m.id = r.message_id AND m.room_id = ANY(%s)",
    "DELETE FROM messaging_message WHERE room_id = ANY(%s)",
    "DELETE FROM rooms_membership WHERE room_id = ANY(%s)",
    "DELETE FROM rooms_ban WHERE room_id = ANY(%s)",
    "DELETE FROM rooms_room WHERE id = ANY(%s)",
]


class Scene:
    """A server, its people, and a new room for each cell of the table; nothing of one cell reaches another."""

    def __init__(self, chat: Chat) -> None:
        self.url = chat.web().url
        chat.event_consumer()
        tokens = chat.tokens(len(NAMES))
        # What a person is called here → user id, token.
        self.people = dict(zip(NAMES, tokens.items(), strict=True))
        self._database = psycopg.connect(chat.environment["DATABASE_URL"], autocommit=True)
        rows = self._database.execute("SELECT username, id FROM accounts_user WHERE username = ANY(%s)", [[*tokens]])
        keys = dict(rows.fetchall())
        self._keys = {name: keys[username] for name, (username, _) in self.people.items()}
        self._offsets = count()
        self._rooms: list[int] = []

    def room(self, kind: str, person: str) -> dict[str, Any]:
        """A room of this kind as the person meets it; what `filled` puts in the place of braces."""
        with self._database.transaction():
            (room,) = self._one(ROOM, kind, self._keys["owner"])
            self._rooms.append(room)
            if kind == "direct":
                self._join(room, "other", "member")
                if person == "member":
                    self._join(room, "member", "member")
            else:
                self._fill(room, person)
            names = {name: username for name, (username, _) in self.people.items()}
            own, message = self._say(room, person), self._say(room, "other")
        return {**names, "leader": names["owner"], "room": room, "own": own, "message": message,
                "cursor": self._cursor(room)}  # fmt: skip

    def _cursor(self, room: int) -> str:
        """A place in a former log: nobody waits for storage to get there."""
        partition = partition_of(f"room.{room}", TOPICS[Topic.MESSAGE_CREATED].partitions)
        return f"0-{partition}-0"

    def _fill(self, room: int, person: str) -> None:
        for name, role in (("owner", "owner"), ("second", "moderator"), ("other", "member")):
            self._join(room, name, role)
        if role := OWN_ROLES.get(person):
            self._join(room, person, role)
        for name in {"barred", *({"banned"} & {person})}:
            self._database.execute(BAN, [room, self._keys[name]])

    def _join(self, room: int, person: str, role: str) -> None:
        self._database.execute(MEMBER, [room, self._keys[person], role, person == "muted"])

    def _say(self, room: int, person: str) -> str:
        uid, (username, _) = str(uuid.uuid4()), self.people[person]
        self._database.execute(MESSAGE, [room, uid, next(self._offsets), self._keys[person], username])
        return uid

    def _one(self, sql: str, *parameters: object) -> Any:
        return self._database.execute(sql, parameters).fetchone()

    def close(self) -> None:
        """Leave no rooms in the lists of other tests' people."""
        for sql in CLEAN:
            self._database.execute(sql, [self._rooms])
        self._database.close()


@pytest.fixture(scope="module")
def scene(chat_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    chat = Chat(chat_environment, tmp_path_factory.mktemp("permissions"))
    scene = Scene(chat)
    yield scene
    chat.close()
    scene.close()


def rest_answer(scene: Scene, action: Action, kind: str, person: str) -> str:
    names = scene.room(kind, person)
    method, path = filled(action.call, names).split()
    token = scene.people[person][1]
    try:
        call(scene.url, token, method, path, filled(action.body, names) or None)
    except urllib.error.HTTPError as error:
        return str(json.load(error)["code"])
    return "ok"


async def frame_answer(scene: Scene, action: Action, kind: str, person: str) -> str:
    names = scene.room(kind, person)
    async with ChatClient(scene.url, scene.people[person][1]) as client:
        frame = {"type": action.call, **filled(action.body, names)}
        if action.call in UNANSWERED:
            await client.send({**frame, "id": "quiet"})
            # What stands behind it is answered when it has been handled.
            await client.ask({"type": "unsubscribe", "rooms": True})
            return str(next((error["code"] for error in client.of_type("error")), "ok"))
        answer = await client.ask(frame)
    return str(answer["code"]) if answer["type"] == "error" else "ok"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("action", REST, ids=lambda action: action.name)
def test_rest_answers_as_the_table_says(scene: Scene, action: Action, kind: str):
    answers = {person: rest_answer(scene, action, kind, person) for person in KINDS[kind]}
    assert answers == action.answers(kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("action", FRAMES, ids=lambda action: action.name)
async def test_frames_are_answered_as_the_table_says(scene: Scene, action: Action, kind: str):
    answers = {person: await frame_answer(scene, action, kind, person) for person in KINDS[kind]}
    assert answers == action.answers(kind)


@pytest.mark.parametrize("action", REST, ids=lambda action: action.name)
def test_rest_is_for_those_who_are_signed_in(scene: Scene, action: Action):
    names = scene.room("public", "stranger")
    method, path = filled(action.call, names).split()
    with pytest.raises(urllib.error.HTTPError) as refusal:
        call(scene.url, "none", method, path, filled(action.body, names) or None)
    assert (refusal.value.code, json.load(refusal.value)["code"]) == (401, "unauthenticated")


async def test_the_websocket_is_for_those_who_are_signed_in(scene: Scene):
    """Whatever is sent: no frame is answered."""
    async with ChatClient(scene.url, "none") as client:
        async with asyncio.timeout(10):
            assert await client.closed() == 4001
        assert [frame["type"] for frame in client.frames] == ["closed"]

"""What is done to somebody on one server holds on the other one within 2 s of the answer: nothing more is delivered,
and nothing more is accepted. The test without a poller shows that no event is needed for it, and the one with Kafka
standing still that no reader is."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

import pytest

from devstack import DevStack
from messaging.visit import MAX_IN_FLIGHT
from tests.acceptance.chat import Chat, call, create_room
from tests.acceptance.client import ANSWERS, ChatClient, Frame
from tests.acceptance.processes import wait_for
from tests.acceptance.promise import PROMISED, SLACK

# Seconds between two messages: so slowly that not all places for messages under way are taken while Kafka stands still,
# and that somebody may be refused for ever (LIMIT_REFUSALS).
PACE = 0.2


@dataclass(frozen=True)
class Act:
    kind: str
    method: str
    path: str
    body: Any
    removed: str | None  # the reason that the person is told
    refusal: str  # of what the person says then


ACTS = {
    "kick": Act("public", "DELETE", "members", None, "kicked", "not_member"),
    "removal from a private room": Act("private", "DELETE", "members", None, "kicked", "not_found"),
    "ban": Act("public", "PUT", "bans", {"reason": "spam"}, "banned", "banned"),
    "mute": Act("public", "PUT", "members", {"muted_until": "2099-01-01T00:00:00Z"}, None, "muted"),
}


@dataclass(frozen=True)
class Meeting:
    """Two servers, an owner at the first and a member at the second, and the owner's room."""

    first: str
    second: str
    owner: str
    victim: str
    name: str
    room: int

    def act(self, act: Act) -> None:
        call(self.first, self.owner, act.method, f"/rooms/{self.room}/{act.path}/{self.name}", act.body)


@pytest.fixture(scope="module")
def meet(
    chat_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Act], Meeting]]:
    """Arranges meetings on two servers that run on; no poller, and no event consumer."""
    chat = Chat(chat_environment, tmp_path_factory.mktemp("moderation"))
    first, second = chat.web("web1"), chat.web("web2")
    people = iter(chat.tokens(24).items())

    def meet(act: Act) -> Meeting:
        (_, owner), (name, victim) = next(people), next(people)
        wait_for(lambda: first.is_ready() and second.is_ready(), "both servers are ready")
        room = create_room(first.url, owner, kind=act.kind)
        if act.kind == "private":
            call(first.url, owner, "PUT", f"/rooms/{room}/members/{name}")
        return Meeting(first.url, second.url, owner, victim, name, room)

    yield meet
    chat.close()


@asynccontextmanager
async def speaking(room: int, *clients: ChatClient) -> AsyncIterator[dict[str, float]]:
    """Each of them speaks in the room again and again until the block is left: the ids of what was said → when, in
    monotonic seconds."""
    said: dict[str, float] = {}

    async def speak(client: ChatClient) -> None:
        while True:
            id = str(uuid.uuid4())
            said[id] = monotonic()
            await client.send({"type": "send", "id": id, "room": room, "text": "hello"})
            await asyncio.sleep(PACE)

    tasks = [asyncio.create_task(speak(client)) for client in clients]
    try:
        yield said
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def heard(client: ChatClient, said: Mapping[str, float], *types: str, later: float = 0.0) -> list[Frame]:
    """What a client was sent about things that were said later than that.

    When a frame arrives is no measure: this process may have stood still before it read it.
    """
    return [frame for frame in client.of_type(*types) if said.get(frame.get("id", ""), 0.0) > later]


def is_refused(client: ChatClient, code: str) -> bool:
    return any(frame.get("code") == code for frame in client.frames)


@pytest.mark.parametrize("name", ACTS)
async def test_without_a_poller_nothing_is_delivered_or_accepted_later(meet: Callable[[Act], Meeting], name: str):
    act, meeting = ACTS[name], meet(ACTS[name])
    room = meeting.room
    async with ChatClient(meeting.first, meeting.owner) as one, ChatClient(meeting.second, meeting.victim) as two:
        for client in (one, two):
            await client.subscribe(room)
        async with speaking(room, one, two) as said:
            await two.until(lambda client: len(client.of_type("message")) > 5)
            await asyncio.to_thread(meeting.act, act)
            promised = monotonic() + PROMISED + SLACK
            # The owner's server has them in the log, and the other one has dealt with what came meanwhile.
            await one.until(lambda client: len(heard(client, said, "message", later=promised)) > 5)
            await two.until(lambda client: len(heard(client, said, *ANSWERS, later=promised)) > 5)
            if act.removed is None:
                # Whoever is muted reads on.
                await two.until(lambda client: heard(client, said, "message", later=promised))
            else:
                await two.until(lambda client: client.of_type("removed"))
        assert {frame.get("code") for frame in heard(two, said, *ANSWERS, later=promised)} == {act.refusal}
        if act.removed is not None:
            assert heard(two, said, "message", later=promised) == []
            assert two.of_type("removed") == [{"type": "removed", "room": room, "reason": act.removed}]
        accepted = max(said[frame["id"]] for frame in heard(two, said, "ack")) - promised + PROMISED + SLACK
        print(f"\n{name}, no poller: what was accepted last was said {accepted:+.3f} s after the answer")


@pytest.mark.parametrize("name", ACTS)
async def test_while_kafka_stands_still_it_holds_all_the_same(
    meet: Callable[[Act], Meeting], chat_stack: DevStack, name: str
):
    act, meeting = ACTS[name], meet(ACTS[name])
    async with ChatClient(meeting.second, meeting.victim) as two:
        await two.subscribe(meeting.room)
        await asyncio.to_thread(chat_stack.pause, "kafka")
        try:
            await asyncio.to_thread(meeting.act, act)
            answered = monotonic()
            promised = answered + PROMISED + SLACK
            async with speaking(meeting.room, two) as said:
                if act.removed is not None:
                    await two.until(lambda client: client.of_type("removed"), deadline=PROMISED + SLACK)
                await two.until(lambda client: heard(client, said, *ANSWERS, later=promised))
        finally:
            await asyncio.to_thread(chat_stack.resume, "kafka")
        assert {frame.get("code") for frame in heard(two, said, *ANSWERS, later=promised)} == {act.refusal}
        refused = min(said[frame["id"]] for frame in heard(two, said, "error") if frame["code"] == act.refusal)
        print(f"\n{name}, Kafka standing still: in force {refused - answered:.3f} s after the answer")


async def test_what_waits_for_its_turn_is_judged_when_it_comes(meet: Callable[[Act], Meeting], chat_stack: DevStack):
    """A right that was lost while Kafka kept what stands before is lost."""
    for _ in range(3):
        answers = await answers_of_who_is_muted_while_waiting(meet(ACTS["mute"]), chat_stack)
        if answers is not None:
            break
    else:
        pytest.fail("Each time Kafka stood still for longer than a message waits for it, before the mute held.")
    # Kafka may have stood still for longer than a message waits for it.
    assert set(answers[:MAX_IN_FLIGHT]) <= {None, "unknown"}
    assert answers[MAX_IN_FLIGHT:] == ["muted"] * 5


async def answers_of_who_is_muted_while_waiting(meeting: Meeting, chat_stack: DevStack) -> list[str | None] | None:
    """The error codes for more messages than have a place at a time; None when a place became free too early."""
    async with ChatClient(meeting.second, meeting.victim) as two:
        await two.subscribe(meeting.room)
        await asyncio.to_thread(chat_stack.pause, "kafka")
        try:
            ids = [str(uuid.uuid4()) for _ in range(MAX_IN_FLIGHT + 5)]
            for id in ids:
                await two.send({"type": "send", "id": id, "room": meeting.room, "text": "hello"})
            await asyncio.to_thread(meeting.act, ACTS["mute"])
            async with ChatClient(meeting.second, meeting.victim) as again, speaking(meeting.room, again):
                await again.until(lambda client: is_refused(client, "muted"))
            if any(map(two.is_answered, ids)):
                return None
        finally:
            await asyncio.to_thread(chat_stack.resume, "kafka")
        return [(await two.answer(id)).get("code") for id in ids]

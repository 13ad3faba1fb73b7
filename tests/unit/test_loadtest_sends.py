"""What a virtual user says arrives, whatever becomes of its connections, and a worker that fails says why."""

import asyncio
import json
from time import monotonic
from typing import Any

import pytest

from loadtest import Outcome, Plan, Sampler, Seat, run_plan
from loadtest.crew import WorkerFailed
from loadtest.cursor import place_of
from loadtest.frames import FrameReader
from loadtest.plan import Key
from loadtest.roomlog import RoomLog
from loadtest.schedule import Schedule
from loadtest.sends import PAUSE, TRIES, WINDOW, Sends
from loadtest.world import World

PLAN = Plan(users=1, rooms=1, seconds=100, ramp=0, rate=1, length=40, run="r1")


class Speaker:
    """Sends of one user, and what was transmitted."""

    def __init__(self) -> None:
        self.log = RoomLog(PLAN, 0, {0: "load1"})
        self.world = World(PLAN, [], monotonic(), {0: self.log}, FrameReader({}), Schedule(PLAN, [], print), Outcome())
        self.sent: list[dict[str, Any]] = []
        self.sends = Sends(self.world, self.log, 7, lambda text: self.sent.append(json.loads(text)))

    def say(self, count: int) -> list[Key]:
        keys = [Key(0, n) for n in range(count)]
        for key in keys:
            self.sends.say(key)
        return keys

    def acknowledge(self, number: int) -> None:
        self.sends.answered({"type": "ack", "id": self.sent[number]["id"], "cursor": f"1-0-{number}"})

    def refuse(self, number: int, code: str) -> None:
        self.sends.answered({"type": "error", "id": self.sent[number]["id"], "code": code})


@pytest.fixture
def speaker() -> Speaker:
    return Speaker()


def test_what_is_said_without_a_connection_leaves_in_order_once_there_is_one(speaker: Speaker):
    keys = speaker.say(3)
    assert speaker.sent == []
    speaker.sends.opened()
    assert [frame["text"] for frame in speaker.sent] == [PLAN.text(key) for key in keys]
    assert not any("retry" in frame for frame in speaker.sent)


def test_what_was_not_acknowledged_is_sent_again_under_the_same_id(speaker: Speaker):
    speaker.sends.opened()
    speaker.say(3)
    speaker.acknowledge(1)
    speaker.sends.lost()
    speaker.sends.opened()
    first, _, third, *again = speaker.sent
    assert again == [{**first, "retry": True}, {**third, "retry": True}]


def test_no_more_than_a_server_takes_are_under_way(speaker: Speaker):
    speaker.sends.opened()
    speaker.say(WINDOW + 5)
    assert len(speaker.sent) == WINDOW
    speaker.acknowledge(0)
    assert len(speaker.sent) == WINDOW + 1


def test_an_acknowledgement_tells_where_the_message_stands(speaker: Speaker):
    speaker.sends.opened()
    [key] = speaker.say(1)
    assert speaker.world.outcome.unacknowledged == {key}
    speaker.acknowledge(0)
    assert speaker.log.record.places == {key: place_of("1-0-0")}
    assert speaker.world.outcome.unacknowledged == set() and speaker.sends.is_done


async def test_a_refusal_that_may_pass_is_tried_again_and_then_given_up(
    speaker: Speaker, monkeypatch: pytest.MonkeyPatch
):
    calls: list[Any] = []
    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", lambda *call: calls.append(call))
    speaker.sends.opened()
    [key] = speaker.say(1)
    for number in range(TRIES - 1):
        speaker.refuse(number, "unavailable")
        wait, again, *arguments = calls.pop()
        assert wait == PAUSE
        again(*arguments)
    assert [frame.get("retry", False) for frame in speaker.sent] == [False, True, True, True, True]
    assert speaker.log.record.resent == {key}
    speaker.refuse(TRIES - 1, "unavailable")
    assert speaker.sends.is_done
    assert speaker.world.outcome.errors == {"unavailable": 1}
    assert speaker.world.outcome.unacknowledged == {key}


async def test_a_new_connection_makes_a_pause_needless(speaker: Speaker, monkeypatch: pytest.MonkeyPatch):
    calls: list[Any] = []
    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", lambda *call: calls.append(call))
    speaker.sends.opened()
    speaker.say(1)
    speaker.refuse(0, "unavailable")
    speaker.sends.lost()
    speaker.sends.opened()
    [(_, again, *arguments)] = calls
    again(*arguments)
    assert len(speaker.sent) == 2


def test_a_refusal_for_good_is_an_error(speaker: Speaker):
    speaker.sends.opened()
    speaker.say(1)
    speaker.refuse(0, "muted")
    assert speaker.world.outcome.errors == {"muted": 1}


def test_an_answer_to_something_else_is_left_to_others(speaker: Speaker):
    assert not speaker.sends.answered({"type": "error", "id": "room", "code": "forbidden"})


def test_a_worker_that_fails_ends_the_run_and_says_why():
    with pytest.raises(WorkerFailed, match="A base URL starts with http"):
        run_plan(PLAN, [Seat(0, "load1", "-", 7)], ["ftp://x"], show=lambda *_: None, sampler=Sampler({}, []))

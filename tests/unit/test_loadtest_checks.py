"""The load test catches what it claims to catch, from the frames as they stand on the wire."""

from itertools import pairwise

import pytest

from loadtest import Limits, Outcome, Plan, violations
from loadtest.cursor import place_of
from loadtest.frames import FrameReader
from loadtest.plan import Key
from loadtest.roomlog import SETTLING, RoomLog, RoomRecord
from tests.unit.loadtest_room import EVERYTHING, NAMES, PLAN, Room, message


@pytest.fixture(params=[1, 3, 50])
def size(request: pytest.FixtureRequest) -> int:
    """Messages of a frame."""
    return int(request.param)


@pytest.fixture
def room(size: int) -> Room:
    """The first receiver has seen everything as it should be."""
    room = Room(size=size)
    room.show(0, EVERYTHING)
    return room


def test_a_faultless_run_is_found_to_be_faultless(room: Room):
    room.show(1, EVERYTHING)
    assert room.found() == {}
    assert room.outcome.received == 2 * len(EVERYTHING)
    assert violations(PLAN, room.outcome, Limits()) == []


def test_a_faultless_run_in_frames_of_different_sizes_is_found_to_be_faultless(room: Room):
    """Whoever is behind gets more at once."""
    room.size = 2
    room.show(1, EVERYTHING[:4])
    room.size = 4
    room.show(1, EVERYTHING[4:])
    assert room.found() == {}


def test_a_faultless_run_is_found_to_be_faultless_when_frames_are_forgotten():
    room = Room(3, size=2, memo_bytes=1)
    for receiver in range(3):
        room.show(receiver, EVERYTHING)
    assert room.found() == {}


@pytest.mark.parametrize("at", range(len(EVERYTHING)))
def test_a_lost_message_is_caught_wherever_it_stood(room: Room, at: int):
    room.show(1, EVERYTHING[:at] + EVERYTHING[at + 1 :])
    assert room.found() == {"lost": 1}


@pytest.mark.parametrize("at", range(len(EVERYTHING)))
def test_a_message_that_the_first_receiver_lost_is_charged_to_nobody_else(size: int, at: int):
    room = Room(3, size=size)
    room.show(0, EVERYTHING[:at] + EVERYTHING[at + 1 :])
    room.show(1, EVERYTHING)
    room.show(2, EVERYTHING)
    assert room.found() == {"lost": 1}


@pytest.mark.parametrize("at", range(len(EVERYTHING)))
def test_a_message_that_nobody_was_shown_is_lost_for_all(size: int, at: int):
    room = Room(3, size=size)
    for receiver in range(3):
        room.show(receiver, EVERYTHING[:at] + EVERYTHING[at + 1 :])
    assert room.found() == {"lost": 3}


def test_those_who_begin_at_different_places_agree_on_the_order(size: int):
    """Whoever came later may be shown its first messages before the others are shown them."""
    room = Room(3, size=size)
    room.show(0, EVERYTHING[:4])
    room.join(room.receivers[1], at=6, time=0)
    room.show(1, EVERYTHING[6:])
    room.join(room.receivers[2], at=5, time=0)
    room.show(2, EVERYTHING[5:])
    room.show(0, EVERYTHING[4:])
    assert room.outcome.out_of_order == 0


def test_receivers_that_see_the_same_messages_at_other_places_are_caught(room: Room):
    """Each in an order of its own, which only together are none."""
    swapped = [EVERYTHING[1], EVERYTHING[0], *EVERYTHING[2:]]
    room.show(1, swapped, log=swapped)
    assert room.found() == {"out_of_order": 2}


@pytest.mark.parametrize("at", range(len(EVERYTHING)))
@pytest.mark.parametrize("later", [1, 5])
def test_a_repeated_message_is_caught(room: Room, at: int, later: int):
    seen = list(EVERYTHING)
    seen.insert(at + later, EVERYTHING[at])
    room.show(1, seen)
    assert room.found() == {"twice": 1}


def test_a_repeated_frame_is_caught(room: Room):
    room.show(1, EVERYTHING)
    room.show(1, EVERYTHING)
    assert room.found() == {"twice": len(EVERYTHING)}


def test_a_message_that_the_log_holds_twice_is_caught(room: Room):
    room.show(1, EVERYTHING)
    room.show_frame(1, message(PLAN.text(EVERYTHING[0]), NAMES[EVERYTHING[0].sender], 99))
    assert room.found() == {"twice": 1}


@pytest.mark.parametrize("at", range(len(EVERYTHING) - 1))
def test_two_swapped_messages_are_caught(room: Room, at: int):
    room.show(1, [*EVERYTHING[:at], EVERYTHING[at + 1], EVERYTHING[at], *EVERYTHING[at + 2 :]])
    assert room.found() == {"out_of_order": 1}


def test_two_swapped_messages_of_one_sender_are_caught_also_when_all_see_them_so(size: int):
    room = Room(size=size)
    swapped = [key._replace(n={0: 1, 1: 0}.get(key.n, key.n)) if key.sender == 0 else key for key in EVERYTHING]
    room.show(0, swapped, log=swapped)
    room.show(1, swapped, log=swapped)
    assert room.found() == {"out_of_order": 1}


def test_a_message_that_was_sent_again_after_a_refusal_may_stand_behind_the_next_one_of_its_sender(size: int):
    room = Room(size=size)
    swapped = [key._replace(n={0: 1, 1: 0}.get(key.n, key.n)) if key.sender == 0 else key for key in EVERYTHING]
    room.log.record.resent.add(Key(0, 0))
    room.show(0, swapped, log=swapped)
    room.show(1, swapped, log=swapped)
    assert room.found() == {}


@pytest.mark.parametrize(
    ("text", "sender"),
    [
        (PLAN.text(Key(0, 1)).replace("r1", "r2"), "load1"),
        (PLAN.text(Key(0, 1)), "load2"),
        (PLAN.text(Key(0, 1))[:-1], "load1"),
        (PLAN.text(Key(0, 1))[:-1] + "y", "load1"),
        (PLAN.text(Key(0, 99)), "load1"),
        (PLAN.text(Key(7, 0)), "load8"),
        ("hello", "load1"),
    ],
)
def test_what_nobody_said_is_foreign(room: Room, text: str, sender: str):
    room.show(1, EVERYTHING)
    room.show_frame(1, message(text, sender, 99))
    assert room.found() == {"foreign": 1}


def test_a_message_that_was_altered_on_its_way_is_foreign_and_the_true_one_is_lost(room: Room):
    frames = [message(PLAN.text(key), NAMES[key.sender], place) for place, key in enumerate(EVERYTHING)]
    frames[3]["text"] = str(frames[3]["text"]).replace("x", "y")
    room.show_frame(1, frames)
    assert room.found() == {"lost": 1, "foreign": 1}


def test_a_message_of_another_room_is_foreign():
    plan = Plan(users=4, rooms=2, seconds=4, ramp=0, rate=1, length=40, run="r1")
    log = RoomLog(plan, 0, {user: f"load{user + 1}" for user in range(4)})
    [batch] = FrameReader({7: log}).read(
        b'{"type":"message","room":7,"cursor":"1-0-0","sender":"load2","text":"%b"}' % plan.text(Key(1, 0)).encode()
    )
    assert not isinstance(batch, dict)
    assert batch.keys == (None,)


def test_who_joins_late_misses_nothing_of_what_was_sent_before(size: int):
    room = Room(1, size=size)
    room.join(room.receivers[0], at=4, time=PLAN.sent_at(EVERYTHING[4]) - 0.001)
    room.show(0, EVERYTHING[4:])
    assert room.found() == {}


def test_who_joins_late_must_see_everything_behind_the_start_that_it_was_told(size: int):
    room = Room(1, size=size)
    room.join(room.receivers[0], at=3, time=PLAN.sent_at(EVERYTHING[4]) - 0.001)
    room.show(0, EVERYTHING[4:])
    assert room.found() == {"lost": 1}


def test_a_start_that_hides_what_was_sent_later_is_caught(size: int):
    """The server cannot lose a message by telling a start behind it."""
    room = Room(1, size=size)
    room.join(room.receivers[0], at=6, time=PLAN.sent_at(EVERYTHING[4]) - 0.001)
    room.show(0, EVERYTHING[6:])
    assert room.found() == {"lost": 2}


def test_who_has_left_does_not_miss_what_comes_later(size: int):
    room = Room(2, size=size)
    for receiver in (0, 1):
        room.show(receiver, EVERYTHING[:4])
    settle(room)
    room.show(0, EVERYTHING[4:])
    room.receivers.pop().leave(for_good=False, is_live=True)
    assert room.found() == {}


def test_who_was_not_shown_what_others_knew_long_before_it_left_has_lost_it(size: int):
    room = Room(2, size=size)
    room.show(0, EVERYTHING[:6])
    room.show(1, EVERYTHING[:4])
    settle(room)
    room.show(0, EVERYTHING[6:])
    room.receivers.pop().leave(for_good=False, is_live=True)
    assert room.found() == {"lost": 2}


def test_who_leaves_while_its_connection_is_lost_has_lost_nothing(size: int):
    room = Room(2, size=size)
    room.show(0, EVERYTHING)
    settle(room)
    room.receivers.pop().leave(for_good=False, is_live=False)
    assert room.found() == {}


def settle(room: Room) -> None:
    for _ in range(SETTLING + 1):
        room.log.settle()


def test_nobody_waits_for_what_was_not_acknowledged(room: Room):
    """It is a violation of its own, and may or may not be seen."""
    room.show(1, EVERYTHING[:-1])
    room.outcome.unacknowledged.add(EVERYTHING[-1])
    assert room.found() == {}
    assert violations(PLAN, room.outcome, Limits()) == ["1 messages were not acknowledged."]


def test_workers_that_saw_two_orders_are_caught():
    places = [place_of(f"1-0-{offset}") for offset in range(3)]
    total = Outcome()
    total.add(Outcome(rooms={0: RoomRecord(places={Key(0, 0): places[0], Key(1, 0): places[1]})}))
    total.add(Outcome(rooms={0: RoomRecord(places={Key(0, 0): places[2], Key(1, 0): places[1]})}))
    assert total.out_of_order == 1


def test_what_the_receivers_of_one_worker_lost_is_found_by_the_other(size: int):
    total = Outcome(joined=PLAN.users)
    for keys in (EVERYTHING, [*EVERYTHING[:2], *EVERYTHING[3:]]):
        room = Room(2, size=size)
        room.show(0, keys)
        room.show(1, keys)
        room.found(acknowledged=[])
        assert room.outcome.lost == 0
        total.add(room.outcome)
    total.judge(PLAN)
    assert total.lost == 2


def test_a_cursor_is_a_number_that_sorts_as_the_log_does():
    cursors = ("1-0-0", "1-0-9", "1-0-10", "1-1-0", "2-0--1", "2-0-0")
    assert all(place_of(before) < place_of(after) for before, after in pairwise(cursors))
    with pytest.raises(ValueError, match="no cursor"):
        place_of("42")


@pytest.mark.parametrize("payload", [b"no JSON", b"[1]", b'{"room": 1}', b'{"type": "message", "room": 7}'])
def test_what_the_protocol_does_not_know_is_refused(payload: bytes):
    with pytest.raises(ValueError, match=r".+"):
        FrameReader({}).read(payload)

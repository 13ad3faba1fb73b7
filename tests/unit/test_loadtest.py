"""The load test catches what it claims to catch."""

from collections.abc import Iterable, Sequence

import pytest

from loadtest import PROFILES, Outcome, Plan, render, violations
from loadtest.checker import Receiver, RoomOrder, place_of
from loadtest.latencies import Latencies
from loadtest.plan import Key

PLAN = Plan(users=3, rooms=1, seconds=4, ramp=0, rate=1, length=40, run="r1")
NAMES = {0: "load1", 1: "load2", 2: "load3"}
EVERYTHING = sorted((Key(sender, n) for sender in NAMES for n in range(PLAN.count(sender))), key=PLAN.sent_at)


class Room:
    """What receivers of one room, all there from the beginning, make of what they see."""

    def __init__(self, receivers: int = 2) -> None:
        self.outcome = Outcome(joined=PLAN.users)
        order = RoomOrder(PLAN, NAMES)
        self.receivers = [Receiver(PLAN, order, range(3), self.outcome) for _ in range(receivers)]
        for receiver in self.receivers:
            receiver.join(0)

    def show(self, receiver: int, keys: Iterable[Key], *, log: Sequence[Key] = EVERYTHING) -> None:
        """`log`: the order of the room."""
        for key in keys:
            self.receivers[receiver].take((PLAN.text(key), NAMES[key.sender]), (1, 0, log.index(key)))

    def found(self) -> dict[str, int]:
        """The counts that are not zero."""
        for receiver in self.receivers:
            self.outcome.missing.update(receiver.missing())
        names = ("lost", "twice", "out_of_order", "foreign")
        return {name: count for name in names if (count := getattr(self.outcome, name))}


@pytest.fixture
def room() -> Room:
    """The first receiver has seen everything as it should be."""
    room = Room()
    room.show(0, EVERYTHING)
    return room


def test_a_faultless_run_is_found_to_be_faultless(room: Room):
    room.show(1, EVERYTHING)
    assert room.found() == {}
    assert room.outcome.received == 2 * len(EVERYTHING)
    assert violations(PLAN, room.outcome) == []


@pytest.mark.parametrize("at", range(len(EVERYTHING)))
def test_a_lost_message_is_caught_wherever_it_stood(room: Room, at: int):
    room.show(1, EVERYTHING[:at] + EVERYTHING[at + 1 :])
    assert room.found() == {"lost": 1}


@pytest.mark.parametrize("at", range(1, len(EVERYTHING)))
def test_a_message_that_the_first_receiver_lost_is_charged_to_nobody_else(at: int):
    room = Room(3)
    room.show(0, EVERYTHING[:at] + EVERYTHING[at + 1 :])
    room.show(1, EVERYTHING)
    room.show(2, EVERYTHING)
    assert room.found() == {"lost": 1}


def test_those_who_begin_at_different_places_agree_on_the_order():
    """Whoever came later may be shown its first messages before the others are shown them."""
    room = Room(3)
    room.show(0, EVERYTHING[:4])
    room.show(1, EVERYTHING[6:])
    room.show(2, EVERYTHING[5:])
    room.show(0, EVERYTHING[4:])
    assert room.outcome.out_of_order == 0


def test_receivers_that_see_the_same_messages_at_other_places_are_caught(room: Room):
    """Each in an order of its own, which only together are none."""
    swapped = [EVERYTHING[1], EVERYTHING[0], *EVERYTHING[2:]]
    room.show(1, swapped, log=swapped)
    assert room.found() == {"out_of_order": 2}


def test_a_cursor_that_is_none_is_refused():
    assert place_of("3-1-42") == (3, 1, 42)
    with pytest.raises(ValueError, match="no cursor"):
        place_of("42")


@pytest.mark.parametrize("at", range(len(EVERYTHING)))
@pytest.mark.parametrize("later", [1, 5])
def test_a_repeated_message_is_caught(room: Room, at: int, later: int):
    seen = list(EVERYTHING)
    seen.insert(at + later, EVERYTHING[at])
    room.show(1, seen)
    assert room.found() == {"twice": 1}


@pytest.mark.parametrize("at", range(len(EVERYTHING) - 1))
def test_two_swapped_messages_of_two_senders_are_caught(room: Room, at: int):
    room.show(1, [*EVERYTHING[:at], EVERYTHING[at + 1], EVERYTHING[at], *EVERYTHING[at + 2 :]])
    assert room.found() == {"out_of_order": 1}


def test_two_swapped_messages_of_one_sender_are_caught_also_when_all_see_them_so():
    room = Room()
    swapped = [key._replace(n={0: 1, 1: 0}.get(key.n, key.n)) if key.sender == 0 else key for key in EVERYTHING]
    room.show(0, swapped, log=swapped)
    room.show(1, swapped, log=swapped)
    assert room.found() == {"out_of_order": 2}


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
    room.receivers[1].take((text, sender), (1, 0, 99))
    assert room.found() == {"foreign": 1}


def test_a_message_of_another_room_is_foreign():
    plan = Plan(users=4, rooms=2, seconds=4, ramp=0, rate=1, length=40, run="r1")
    outcome = Outcome()
    receiver = Receiver(plan, RoomOrder(plan, {0: "load1", 1: "load2"}), plan.in_room(0), outcome)
    receiver.take((plan.text(Key(1, 0)), "load2"), (1, 0, 0))
    assert outcome.foreign == 1


def test_who_joins_late_misses_nothing_of_what_was_sent_before():
    room = Room(1)
    room.receivers[0].join(PLAN.sent_at(EVERYTHING[4]) - 0.001)
    room.show(0, EVERYTHING[4:])
    assert room.found() == {}


def test_who_joins_late_may_see_what_was_sent_while_it_joined():
    room = Room(1)
    room.receivers[0].join(PLAN.sent_at(EVERYTHING[4]) - 0.001)
    room.show(0, EVERYTHING[2:])
    assert room.found() == {}


def test_who_joins_late_must_see_what_is_sent_from_then_on():
    room = Room(1)
    room.receivers[0].join(PLAN.sent_at(EVERYTHING[4]) - 0.001)
    room.show(0, EVERYTHING[5:])
    assert room.found() == {"lost": 1}


def test_nobody_waits_for_what_was_not_acknowledged(room: Room):
    """It is a violation of its own, and may or may not be seen."""
    room.show(1, EVERYTHING[:-1])
    room.outcome.unacknowledged.add(EVERYTHING[-1])
    assert room.found() == {}
    assert violations(PLAN, room.outcome) == ["1 messages were not acknowledged."]


def test_workers_that_saw_two_orders_are_caught():
    first = Outcome(orders={0: {Key(0, 0): (1, 0, 0), Key(1, 0): (1, 0, 1)}})
    second = Outcome(orders={0: {Key(0, 0): (1, 0, 2), Key(1, 0): (1, 0, 1)}})
    total = Outcome()
    total.add(first)
    total.add(second)
    assert total.out_of_order == 1


def test_counts_of_workers_are_merged():
    total = Outcome()
    for _ in range(2):
        part = Outcome(joined=1, sent=2, twice=3, latest=0.5)
        part.missing[Key(0, 0)] = 4
        part.errors["muted"] = 1
        part.delivery.record(0.25)
        total.add(part)
    assert (total.joined, total.sent, total.twice, total.lost, total.errors["muted"]) == (2, 4, 6, 8, 2)
    assert total.delivery.count == 2
    assert total.delivery.at(50) == pytest.approx(0.25, rel=0.001)


def test_each_violation_is_a_sentence():
    outcome = Outcome(joined=2, twice=1, out_of_order=1, foreign=1, gaps=1)
    outcome.missing[Key(0, 0)] = 1
    outcome.errors["muted"] = 1
    assert len(violations(PLAN, outcome)) == 7
    assert "lost 1, twice 1, out of order 1, foreign 1" in render(PLAN, outcome)


def test_latencies_are_kept_within_their_range():
    latencies = Latencies()
    for seconds in (-1.0, 0.0, 5_000.0):
        latencies.record(seconds)
    assert latencies.count == 3


def test_all_talk_at_their_rate_while_latencies_count():
    plan = Plan(run="r", **PROFILES["seed"])
    for sender in range(plan.users):
        times = [plan.sent_at(Key(sender, n)) for n in range(plan.count(sender))]
        assert sum(plan.steady_from <= time < plan.end for time in times) == 20
        assert max(times) < plan.end


@pytest.mark.parametrize(
    "wrong", [{"users": 0}, {"rooms": 4}, {"rooms": 0}, {"rate": 0}, {"seconds": 0}, {"ramp": -1}, {"length": 31}]
)
def test_a_plan_that_cannot_be_is_refused(wrong: dict[str, int]):
    with pytest.raises(ValueError, match=r".+"):
        Plan(**{"users": 3, "rooms": 1, "seconds": 4, "ramp": 0, "rate": 1, "length": 40, "run": "r1", **wrong})

"""The plan of a load test, its counts and its verdict."""

import pickle
from collections import Counter
from typing import Any

import pytest

from loadtest import PROFILES, Limits, Outcome, Plan, violations, weaknesses
from loadtest.creations import scheduled
from loadtest.crowd import deal_rates, deal_rooms
from loadtest.deliveries import Deliveries
from loadtest.latencies import TICK, Latencies
from loadtest.plan import Key, Role
from loadtest.roomlog import RoomRecord
from loadtest.watch import BEAT, Watch
from tests.unit.loadtest_room import EVERYTHING, PLAN, Room


def make_plan(**values: Any) -> Plan:
    return Plan(**{"users": 3, "rooms": 1, "seconds": 4, "ramp": 0, "rate": 1, "length": 40, "run": "r1", **values})


def test_counts_of_workers_are_merged():
    total = Outcome()
    for _ in range(2):
        part = Outcome(joined=1, sent=2, twice=3, latest=0.5, busiest=0.25)
        part.rooms[0] = RoomRecord({Key(0, 0): 5}, tails=Counter({4: 3}))
        part.errors["muted"] = 1
        part.delivery.record(0.25)
        total.add(part)
    total.judge(PLAN)
    assert (total.joined, total.sent, total.twice, total.lost, total.errors["muted"]) == (2, 4, 6, 6, 2)
    assert (total.latest, total.busiest) == (0.5, 0.25)
    assert total.delivery.count == 2
    assert total.delivery.at(50) == pytest.approx(0.25, rel=0.001)


def test_an_outcome_survives_the_way_from_process_to_process():
    outcome = Outcome(twice=1)
    outcome.delivery.record(0.25, 7)
    arrived = pickle.loads(pickle.dumps(outcome))  # noqa: S301 (our own)
    assert (arrived.twice, arrived.delivery.count) == (1, 7)
    arrived.delivery.record(600)
    assert arrived.delivery.at(100) == pytest.approx(600, rel=0.001)


def test_each_violation_is_a_sentence():
    outcome = Outcome(joined=2, lost=1, twice=1, out_of_order=1, foreign=1, gaps=1, cut=1, rooms_lost=1)
    outcome.errors["muted"] = 1
    assert len(violations(PLAN, outcome, Limits())) == 9


def test_what_a_limit_lets_pass_is_no_violation():
    outcome = Outcome(joined=3, lost=2, twice=1)
    assert violations(PLAN, outcome, Limits(lost=2, twice=1)) == []
    outcome.delivery.record(0.1)
    assert violations(PLAN, outcome, Limits(lost=2, twice=1, p99=60)) != []
    assert violations(PLAN, outcome, Limits(lost=2, twice=1, p99=110)) == []


@pytest.mark.parametrize("weak", [{"busiest": 0.95}, {"sent": 50, "late": 1, "latest": 0.1}, {"lag": 0.2}])
def test_a_generator_that_is_the_limit_says_so(weak: dict[str, Any]):
    outcome = Outcome(**weak)
    [said] = weaknesses(outcome, Limits())
    assert said.startswith("The generator is the limit: ")


def test_a_generator_with_headroom_is_not_blamed():
    outcome = Outcome(sent=1000, late=5, busiest=0.6, lag=0.01)
    assert weaknesses(outcome, Limits(p99=60)) == []


def test_a_generator_that_lags_by_half_of_what_is_allowed_cannot_judge_it():
    outcome = Outcome(lag=0.04)
    assert weaknesses(outcome, Limits()) == []
    assert weaknesses(outcome, Limits(p99=60)) != []


def test_a_loop_that_stood_still_is_late_for_each_look_that_it_missed():
    """A second of five, in which a look every 20 ms was missed 50 times, is no single look of two hundred."""
    watch = Watch()
    for lag in (*[0.0] * 200, 1.0):
        watch.lags.record_stall(lag, BEAT)
    assert watch.lags.at(85) > 0.1


def test_the_worst_worker_counts():
    outcome = Outcome(lag=0.01)
    outcome.add(Outcome(lag=0.5))
    outcome.add(Outcome(lag=0.02))
    assert outcome.lag == 0.5


def test_storing_that_falls_behind_is_a_violation_where_it_is_limited():
    for lag, found in ((0.5, 0), (3.0, 1), (None, 1)):
        outcome = Outcome(joined=3, storage_lag=lag)
        assert len(violations(PLAN, outcome, Limits(storage_lag=1))) == found
        assert violations(PLAN, outcome, Limits()) == []


def test_latencies_are_kept_within_their_range():
    latencies = Latencies()
    for seconds in (-1.0, 0.0, 5_000.0):
        latencies.record(seconds)
    assert latencies.count == 3


def test_a_batch_counts_once_for_each_message_and_receiver():
    room = Room(2, size=len(EVERYTHING))
    room.show(0, EVERYTHING)
    [batch] = room.receivers[0]._history
    deliveries = Deliveries()
    for tick in (100_000, 100_000, 100_000, 100_005):
        deliveries.note(batch, tick)
    counts = deliveries.take()
    counted = [key for key in EVERYTHING if PLAN.sent_at(key) >= PLAN.steady_from]
    assert sum(counts.values()) == 4 * len(counted)
    assert counts[100_005 - int(PLAN.sent_at(counted[0]) / TICK)] == 1
    assert deliveries.take() == {}


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_all_talk_at_their_rate_while_latencies_count(profile: str):
    plan = make_plan(**PROFILES[profile])
    talkers = [user for user in range(plan.users) if plan.count(user)]
    said = 0
    for sender in talkers:
        times = [plan.sent_at(Key(sender, n)) for n in range(plan.count(sender))]
        said += sum(plan.steady_from <= time < plan.end for time in times)
        assert max(times) < plan.end
        assert plan.role_of(sender) is Role.TALKER
    # Fewer where somebody would have said more than a server lets a person say.
    assert 0.9 <= said / max(1, len(talkers) * plan.rate * plan.seconds) <= 1.05 or plan.rate == 0


def test_each_message_can_be_read_again_whatever_its_length():
    plan = make_plan(length=32, longest=200)
    keys = [Key(sender, n) for sender in range(3) for n in range(plan.count(sender))]
    assert [plan.read(plan.text(key)) for key in keys] == keys
    assert len({len(plan.text(key)) for key in keys}) > 5


def test_the_roles_have_their_shares():
    plan = make_plan(users=1000, slow=0.1, deaf=0.02, comers=0.3)
    roles = Counter(plan.role_of(user) for user in range(plan.users))
    assert [roles[role] for role in (Role.SLOW, Role.DEAF, Role.COMER)] == pytest.approx([100, 20, 300], abs=5)


def test_zipf_makes_one_room_large_and_leaves_none_empty():
    sizes = Counter(deal_rooms(1000, 200, 1.0))
    assert len(sizes) == 200 and sum(sizes.values()) == 1000
    assert 100 < sizes[0] < 200 and sizes[199] < 3


def test_zipf_lets_few_say_much_and_keeps_the_mean():
    rates = deal_rates(range(100), 1.0, 1.0, 100.0)
    assert sum(rates.values()) == pytest.approx(100)
    assert max(rates.values()) > 15
    assert max(deal_rates(range(100), 1.0, 1.0, 5.0).values()) == 5.0


def test_a_member_of_several_rooms_sees_one_of_them():
    plan = make_plan(users=10, rooms=5, memberships=3)
    for user in range(10):
        assert plan.rooms_of(user)[0] == plan.room_of(user)
        assert len(set(plan.rooms_of(user))) == 3


def test_created_rooms_are_told_from_others():
    plan = make_plan(creations=2, follow=True)
    assert [plan.created_room(plan.created_name(number)) for number in (0, 17)] == [0, 17]
    assert plan.created_room("r2 created 3") is None and plan.created_room("General") is None
    assert plan.created_at(4) == plan.steady_from + 2


def test_rooms_are_created_until_shortly_before_the_end():
    plan = make_plan(seconds=7, creations=1, follow=True)
    assert list(scheduled(plan)) == [0, 1, 2, 3]
    assert list(scheduled(make_plan(seconds=7))) == []


def test_created_rooms_that_a_follower_is_not_shown_are_missed():
    """Of those who followed the list before the room was to be created."""
    plan = make_plan(creations=1, follow=True)
    followed = [plan.created_at(0) - 1] * 3 + [plan.created_at(1) + 1]
    outcome = Outcome(followed=followed, created={0, 1}, shown=Counter({0: 3, 1: 2}))
    outcome.judge(plan)
    assert outcome.rooms_lost == 1


@pytest.mark.parametrize(
    "wrong",
    [{"users": 0}, {"rooms": 4}, {"rooms": 0}, {"rate": -1}, {"seconds": 0}, {"ramp": -1}, {"length": 31},
     {"longest": 39}, {"longest": 4001}, {"slow": 0.6, "deaf": 0.6}, {"storm": 4}, {"zipf": -1}, {"memberships": 2},
     {"creations": 1}, {"creations": 1, "follow": True, "storm": 2}],
)  # fmt: skip
def test_a_plan_that_cannot_be_is_refused(wrong: dict[str, Any]):
    with pytest.raises(ValueError, match=r".+"):
        make_plan(**wrong)

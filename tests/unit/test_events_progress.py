"""When the event consumer is said to be in trouble."""

import pytest

from events import progress
from events.bad_share import WINDOW, BadShare
from events.progress import Place, Progress

PLACE: Place = ("topic", 0)


class Clock:
    """Monotonic time that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "monotonic", clock)
    return clock


def at_work(clock: Clock) -> Progress:
    """A consumer at offset 10, whose loop turns and whose Kafka answers."""
    made = Progress(patience=30)
    made.begin(PLACE, 10)
    return made


def pass_time(made: Progress, clock: Clock, *, seconds: float, end: int) -> None:
    clock.now += seconds
    made.turn()
    made.measure({PLACE: end})


def test_a_quiet_log_is_no_problem(clock: Clock) -> None:
    """Nothing to do for a day, then a record."""
    made = at_work(clock)
    pass_time(made, clock, seconds=86_400, end=10)
    pass_time(made, clock, seconds=5, end=11)
    assert made.problem() is None
    assert made.lags() == {"topic": 1}


def test_a_partition_that_brings_nothing_although_records_are_there_is_stuck(clock: Clock) -> None:
    """Another process may read them. Not while a service is away, somebody must mend it, or Kafka is silent."""
    made = at_work(clock)
    pass_time(made, clock, seconds=5, end=15)
    pass_time(made, clock, seconds=59, end=15)
    assert made.stuck([]) is None
    pass_time(made, clock, seconds=2, end=15)
    assert made.stuck([]) == "topic[0] brings nothing, although 5 records wait."
    assert made.stuck([PLACE]) is None
    clock.now += 31
    made.turn()
    assert made.stuck([]) is None
    pass_time(made, clock, seconds=1, end=15)
    made.stop(PLACE, "bad records")
    assert made.stuck([]) is None


def test_records_that_wait_without_progress_are_a_problem(clock: Clock) -> None:
    """Counted from when they began to wait; the smallest progress ends it."""
    made = at_work(clock)
    pass_time(made, clock, seconds=5, end=15)
    pass_time(made, clock, seconds=29, end=15)
    assert made.problem() is None
    pass_time(made, clock, seconds=2, end=15)
    assert made.problem() == "topic[0] makes no progress, and 5 records wait."
    made.move(PLACE, 11)
    assert made.problem() is None


def test_a_slow_one_that_moves_is_no_problem(clock: Clock) -> None:
    """Much lag is for an alert on the lag, not for a restart."""
    made = at_work(clock)
    for offset in range(11, 20):
        pass_time(made, clock, seconds=20, end=1_000_000)
        made.move(PLACE, offset)
    assert made.problem() is None


def test_a_loop_that_hangs_is_a_problem_also_without_lag(clock: Clock) -> None:
    """It could not take over anything."""
    made = at_work(clock)
    clock.now += 31
    made.measure({PLACE: 10})
    assert made.problem() == "The loop hangs."


def test_without_a_word_from_kafka_nobody_knows(clock: Clock) -> None:
    """No lag that is known is no lag that there is."""
    made = at_work(clock)
    clock.now += 31
    made.turn()
    assert made.problem() == "Kafka does not say where the logs end."


def test_a_partition_that_stands_still_is_a_problem_at_once(clock: Clock) -> None:
    """Until it goes on, or belongs to somebody else."""
    made = at_work(clock)
    assert made.stop(PLACE, "all bad") and not made.stop(PLACE, "all bad")
    assert made.problem() == "topic[0] has stopped: all bad" and made.stopped == 1
    made.go_on(PLACE)
    assert made.problem() is None
    made.stop(PLACE, "all bad")
    made.end(PLACE)
    assert made.problem() is None


def test_the_share_of_bad_records_is_that_of_the_newest_ones() -> None:
    """Single bad ones among many good ones never exhaust it, however many there are over time."""
    share = BadShare(3)
    for _ in range(100):
        share.note_bad()
        share.note_good(WINDOW // 3)
        assert not share.is_exhausted
    for _ in range(3):
        share.note_bad()
    assert share.is_exhausted
    share.note_good(10_000)
    assert not share.is_exhausted

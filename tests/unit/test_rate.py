from messaging import rate as rate_module
from messaging.rate import MessageRate


def test_a_burst_is_free_and_then_the_rate_counts() -> None:
    rate = MessageRate(rate=0.001, burst=3)
    assert [rate.take(1) for _ in range(3)] == [0, 0, 0]
    assert 990 < rate.take(1) <= 1000


def test_people_do_not_share_a_bucket() -> None:
    rate = MessageRate(rate=0.001, burst=1)
    assert rate.take(1) == 0
    assert rate.take(2) == 0
    assert rate.take(1) > 0


def test_tokens_come_back(monkeypatch) -> None:
    now = 100.0
    monkeypatch.setattr(rate_module, "monotonic", lambda: now)
    rate = MessageRate(rate=10, burst=1)
    assert rate.take(1) == 0
    assert rate.take(1) > 0
    now += 0.2
    assert rate.take(1) == 0


def test_the_number_of_buckets_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr(rate_module, "MAX_BUCKETS", 2)
    rate = MessageRate(rate=0.001, burst=1)
    for user in (1, 2, 3):
        rate.take(user)
    assert rate.take(3) > 0
    assert rate.take(1) == 0

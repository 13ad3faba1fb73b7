"""Token buckets of one process, and who shares one."""

import pytest

from accounts import limits
from accounts.errors import ChatError
from accounts.limits import Limit, LocalBuckets, is_trusted, network_of, require_here

SLOW = Limit(burst=3, per=3000)


def test_a_burst_is_free_and_then_the_rate_counts() -> None:
    buckets = LocalBuckets()
    assert [buckets.take("a", SLOW) for _ in range(3)] == [0, 0, 0]
    assert 990 < buckets.take("a", SLOW) <= 1000


def test_people_do_not_share_a_bucket() -> None:
    buckets, one = LocalBuckets(), Limit(1, 1000)
    assert buckets.take("a", one) == 0
    assert buckets.take("b", one) == 0
    assert buckets.take("a", one) > 0


def test_tokens_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(limits, "monotonic", lambda: now)
    buckets, limit = LocalBuckets(), Limit(1, 0.1)
    assert buckets.take("a", limit) == 0
    assert buckets.take("a", limit) > 0
    now += 0.2
    assert buckets.take("a", limit) == 0


def test_what_is_given_back_can_be_taken_again_and_a_full_bucket_stays_full() -> None:
    buckets = LocalBuckets()
    assert [buckets.take("a", SLOW, tokens) for tokens in (1, -1, -1, 1, 1, 1)] == [0] * 6
    assert buckets.take("a", SLOW) > 0


def test_the_number_of_buckets_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_BUCKETS", 2)
    buckets, one = LocalBuckets(), Limit(1, 1000)
    for user in "abc":
        buckets.take(user, one)
    assert buckets.take("c", one) > 0
    assert buckets.take("a", one) == 0


def test_a_refusal_says_when_to_come_back_in_a_second_at_least() -> None:
    """And is counted, without saying whose it was."""
    before = limits.limited_total.labels("messages")._value.get()
    with pytest.raises(ChatError) as refusal:
        for _ in range(1000):
            require_here("messages", "test-a-refusal")
    assert (refusal.value.code, refusal.value.retry_after) == ("rate_limited", 1.0)
    assert limits.limited_total.labels("messages")._value.get() == before + 1


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("a pipe", "a pipe"),
    ],
)
def test_an_ipv6_client_does_not_get_a_bucket_for_each_of_its_addresses(address: str, network: str) -> None:
    assert network_of(address) == network


@pytest.mark.parametrize(
    ("address", "expected"), [("127.0.0.1", True), ("::1", True), ("192.0.2.1", False), ("", False), ("x", False)]
)
def test_a_developer_s_own_machine_is_trusted(address: str, expected: bool) -> None:
    """With embedded services only."""
    assert is_trusted(address) is expected

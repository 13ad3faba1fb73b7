"""The lease: Redis decides who tries, PostgreSQL who may."""

from collections.abc import Iterator
from threading import Event
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now
from redis import Redis

from outbox.lease import LOCK_NAME, Lease
from outbox.models import OutboxEvent, OutboxLease
from outbox.rows import Failure, Fenced, mark_failed, mark_sent
from tests.acceptance.processes import wait_for
from tests.integration.outbox_support import commit_events, make_redis, thing_table

pytestmark = pytest.mark.django_db(transaction=True)

# Nobody listens there.
NO_REDIS = "redis://127.0.0.1:1/0"


@pytest.fixture
def redis(transactional_db: None) -> Iterator[Redis]:
    redis = make_redis()
    redis.delete(LOCK_NAME)
    yield redis
    redis.delete(LOCK_NAME)


def lease_on(redis: Redis, *, life: float = 60.0) -> Lease:
    return Lease(redis, holder=f"test-{uuid4().hex[:8]}", life=life)


def age_lease(seconds: float) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE outbox_outboxlease SET renewed_at = clock_timestamp() - make_interval(secs => %s)", [seconds]
        )


def test_one_of_two_holds_and_each_take_over_has_the_next_epoch(redis: Redis) -> None:
    """The second gets it at once when the first lets go."""
    one, two = lease_on(redis), lease_on(redis)
    assert one.acquire() and one.held
    assert not two.acquire() and not two.held
    one.release()
    assert not one.held
    assert two.acquire()
    assert two.epoch == one.epoch + 1
    two.release()
    assert OutboxLease.objects.get().holder == "" and redis.get(LOCK_NAME) is None


def test_a_holder_that_could_not_give_its_row_back_takes_it_anew_at_once(redis: Redis) -> None:
    """After an outage of PostgreSQL nobody waits for the end of a lease; the epoch tells the former writes apart."""
    lease = lease_on(redis)
    OutboxLease.objects.update_or_create(pk=1, defaults={"holder": lease.holder, "epoch": 7, "renewed_at": Now()})
    assert lease.acquire()
    assert lease.epoch == 8
    lease.release()


def test_release_without_lease_and_twice_is_harmless(redis: Redis) -> None:
    """Closing is always allowed."""
    lease = lease_on(redis)
    lease.release()
    assert lease.acquire()
    lease.release()
    lease.release()


def test_without_redis_the_row_alone_decides(redis: Redis) -> None:
    """Neither two holders nor none."""
    one, two = lease_on(make_redis(NO_REDIS)), lease_on(make_redis(NO_REDIS))
    assert one.acquire() and one.held
    assert not two.acquire()
    one.release()
    assert two.acquire()
    two.release()


def test_two_that_see_different_halves_of_the_network_do_not_flap(redis: Redis) -> None:
    """The holder cannot see Redis, the candidate can: the row keeps the holder, and the lock stays free."""
    holder, candidate = lease_on(make_redis(NO_REDIS)), lease_on(redis)
    assert holder.acquire()
    for _ in range(3):
        assert not candidate.acquire()
        assert redis.get(LOCK_NAME) is None
    assert holder.held
    holder.release()


def test_a_lock_whose_grant_was_not_heard_is_recognised(redis: Redis) -> None:
    """The stored token is ours: the first try was applied, its answer lost."""
    lease = lease_on(redis)
    redis.set(LOCK_NAME, lease.holder, px=600_000)
    assert lease.acquire()
    assert redis.pttl(LOCK_NAME) <= 60_000
    lease.release()


def test_the_lease_outlives_its_life_by_renewal(redis: Redis) -> None:
    """Both halves are renewed at a third of their life, by a thread of its own."""
    lease = lease_on(redis, life=3)
    assert lease.acquire()
    first = OutboxLease.objects.get().renewed_at

    def renewed_for() -> float:
        return (OutboxLease.objects.get().renewed_at - first).total_seconds()

    wait_for(lambda: renewed_for() > lease.life, "renewals for longer than a life")
    row = OutboxLease.objects.get()
    assert (row.epoch, row.holder) == (lease.epoch, lease.holder)
    wait_for(lambda: lease.held, "a renewal in time")
    wait_for(lambda: redis.get(LOCK_NAME) == lease.holder.encode(), "the lock")
    lease.release()


def test_a_lock_lost_with_a_restarted_redis_is_taken_again(redis: Redis) -> None:
    """The row kept the holder meanwhile."""
    lease = lease_on(redis, life=3)
    assert lease.acquire()
    redis.delete(LOCK_NAME)
    wait_for(lambda: redis.get(LOCK_NAME) == lease.holder.encode(), "the lock again")
    wait_for(lambda: lease.held, "a renewal in time")
    row = OutboxLease.objects.get()
    assert (row.epoch, row.holder) == (lease.epoch, lease.holder)
    lease.release()


def test_a_silent_holder_is_replaced_fenced_and_counted(redis: Redis) -> None:
    """Its next renewal is rejected, it stops and may mark nothing; a lease in time is left alone."""
    lost, fenced = Event(), Event()
    old = Lease(make_redis(NO_REDIS), holder="old", life=9, on_lost=lost.set, on_fenced=fenced.set)
    new = Lease(make_redis(NO_REDIS), holder="new", life=9)
    assert old.acquire()
    assert not new.acquire()

    def take_over() -> bool:
        # Until it is fenced the old one may renew between the two.
        age_lease(old.life + 1)
        return new.acquire()

    wait_for(take_over, "the take-over")
    assert new.epoch == old.epoch + 1
    assert lost.wait(30) and fenced.wait(30) and not old.held
    with thing_table():
        (event,) = commit_events(1)
    with pytest.raises(Fenced):
        mark_sent([event.id], epoch=old.epoch, holder=old.holder)
    with pytest.raises(Fenced):
        mark_failed([Failure(event.id, 1, "late", 0, dead=True)], epoch=old.epoch, holder=old.holder)
    assert OutboxEvent.objects.get(pk=event.pk).state == "unsent"
    old.release()
    assert OutboxLease.objects.get().holder == "new", "The release of the fenced one must not touch the new one's."
    wait_for(lambda: new.held, "a renewal in time")
    new.release()


def test_what_was_discarded_is_not_marked_any_more(redis: Redis) -> None:
    """Neither as sent nor as failed: somebody's decision stands."""
    lease = lease_on(redis)
    assert lease.acquire()
    with thing_table():
        (event,) = commit_events(1)
    OutboxEvent.objects.filter(pk=event.pk).update(dead_at=Now(), discarded_at=Now())
    assert mark_sent([event.id], epoch=lease.epoch, holder=lease.holder) == []
    mark_failed([Failure(event.id, 3, "late", 0, dead=False)], epoch=lease.epoch, holder=lease.holder)
    event.refresh_from_db()
    assert (event.state, event.attempts) == ("discarded", 0) and event.dead_at is not None
    lease.release()


def test_work_stops_when_renewal_is_late_whatever_redis_says(redis: Redis) -> None:
    """The row is locked, so no renewal comes through: by the monotonic clock the work is over within the life."""
    lease = lease_on(redis, life=0.9)
    assert lease.acquire()
    with transaction.atomic():
        OutboxLease.objects.select_for_update().get()
        wait_for(lambda: not lease.held, "the end of the work")
    wait_for(lambda: lease.held, "the renewal after all, since nobody has taken over")
    lease.release()

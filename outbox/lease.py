"""Who drains the outbox: the Redis lock decides who tries, a row in PostgreSQL who may.

Redis only saves work: its lock may be lost in a failover or held by two. The row's epoch grows with each take-over and
is checked by every write of the holder (`outbox.rows`), so that a holder that was paused can write nothing any more.
"""

import logging
from collections.abc import Callable
from threading import Event, Thread
from time import monotonic

from django.db import Error, connection
from redis import Redis
from redis.exceptions import LockError, RedisError
from redis.lock import Lock as RedisLock

logger = logging.getLogger(__name__)

LOCK_NAME = "outbox-polling-lock"

# A TransactionTestCase and an operator's TRUNCATE may take the row away.
ENSURE = "INSERT INTO outbox_outboxlease (id, epoch, holder) VALUES (1, 0, '') ON CONFLICT DO NOTHING"
# From itself a holder takes over at once: after an outage of the database it could not give the row back.
TAKE_OVER = """
    UPDATE outbox_outboxlease
    SET epoch = epoch + 1, holder = %(holder)s, life = %(life)s, renewed_at = clock_timestamp()
    WHERE id = 1 AND (holder IN ('', %(holder)s) OR renewed_at < clock_timestamp() - make_interval(secs => life))
    RETURNING epoch
"""
RENEW = """
    UPDATE outbox_outboxlease SET renewed_at = clock_timestamp()
    WHERE id = 1 AND epoch = %(epoch)s AND holder = %(holder)s
"""
AGE = "SELECT extract(epoch FROM clock_timestamp() - renewed_at)::float8 FROM outbox_outboxlease WHERE id = 1"
# The notification lets a candidate take over at once.
RELEASE = """
    WITH released AS (
        UPDATE outbox_outboxlease SET holder = '' WHERE id = 1 AND epoch = %(epoch)s AND holder = %(holder)s RETURNING 1
    )
    SELECT pg_notify(%(channel)s, '') FROM released
"""


class Lease:
    """A lease on the outbox for `life` seconds, renewed at a third of them by a thread of its own.

    `acquire()` and `release()` are a pair and may follow each other again. `on_lost` is called from the renewing thread
    when somebody else has taken over. `on_fenced` counts a renewal that PostgreSQL rejected.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        holder: str,
        life: float = 10.0,
        channel: str = "outbox",
        on_lost: Callable[[], None] = lambda: None,
        on_fenced: Callable[[], None] = lambda: None,
    ) -> None:
        if life <= 0:
            raise ValueError("life is the number of seconds without renewal after which others may take over.")
        self.holder = holder
        self.life = life
        self.epoch = 0
        self._redis = redis
        self._channel = channel
        self._on_lost = on_lost
        self._on_fenced = on_fenced
        self._lock = self._new_lock()
        # Work is allowed until this moment of the monotonic clock, whatever Redis says; 0: no lease.
        self._deadline = 0.0
        self._released = Event()
        self._renewer: Thread | None = None

    @property
    def held(self) -> bool:
        """Whether the holder may go on: no renewal is late."""
        return monotonic() < self._deadline

    def acquire(self) -> bool:
        """Try once. Raises `django.db.Error` when PostgreSQL cannot be asked."""
        if self._take_lock() is False:
            return False
        started = monotonic()
        try:
            epoch = self._take_row()
        except Error:
            self._leave_lock()
            raise
        if epoch is None:
            # The row belongs to one that cannot see this Redis, or died: let the other candidates try as well.
            self._leave_lock()
            return False
        self.epoch, self._deadline = epoch, self._deadline_from(started)
        self._released.clear()
        self._renewer = Thread(target=self._keep, name=f"outbox-lease-{epoch}", daemon=True)
        self._renewer.start()
        logger.info("%s holds the outbox with epoch %d.", self.holder, epoch)
        return True

    def release(self) -> None:
        """Give the lease up, so that a candidate can take over at once; harmless without one. Never raises for a
        service that is away: the lease then ends by its own time."""
        if self._renewer is None:
            return
        self._released.set()
        self._renewer.join()
        self._renewer = None
        self._deadline = 0.0
        self._leave_lock()
        try:
            with connection.cursor() as cursor:
                values: dict[str, str | int] = {"epoch": self.epoch, "holder": self.holder, "channel": self._channel}
                cursor.execute(RELEASE, values)
        except Error as error:
            logger.warning("The lease with epoch %d was not released, it ends by itself: %s", self.epoch, error)
            connection.close()

    # The row in PostgreSQL

    def _take_row(self) -> int | None:
        with connection.cursor() as cursor:
            cursor.execute(ENSURE)
            cursor.execute(TAKE_OVER, {"holder": self.holder, "life": self.life})
            row = cursor.fetchone()
        return None if row is None else int(row[0])

    def _renew_row(self) -> bool:
        """Whether the row is still ours."""
        with connection.cursor() as cursor:
            cursor.execute(RENEW, {"epoch": self.epoch, "holder": self.holder})
            return bool(cursor.rowcount == 1)

    def _deadline_from(self, started: float) -> float:
        """Counted from before the statement; the margin is for what is under way when the time is over."""
        return started + self.life * 0.8

    def _keep(self) -> None:
        wait = self.life / 3
        while not self._released.wait(wait):
            wait = self._renew()
        connection.close()

    def _renew(self) -> float:
        """Renew once; the seconds until the next time."""
        started = monotonic()
        try:
            ours = self._renew_row()
        except Error as error:
            logger.warning("The lease with epoch %d was not renewed: %s", self.epoch, error)
            connection.close()
            return min(1.0, self.life / 10)
        if not ours:
            self._lose()
            return self.life
        self._deadline = self._deadline_from(started)
        self._refresh_lock()
        return self.life / 3

    def _lose(self) -> None:
        logger.error("%s was fenced: somebody else has taken over from epoch %d.", self.holder, self.epoch)
        self._deadline = 0.0
        self._released.set()
        self._on_fenced()
        self._on_lost()

    # The lock in Redis

    def _new_lock(self) -> RedisLock:
        # Not thread-local: the thread that renews is not the one that acquired.
        return RedisLock(self._redis, LOCK_NAME, timeout=self.life, blocking=False, thread_local=False)

    def _take_lock(self) -> bool | None:
        """True: ours. False: somebody else's. None: Redis cannot be asked, so the row alone decides."""
        token = self.holder.encode()
        try:
            if self._lock.acquire(blocking=False, token=self.holder):
                return True
            if self._redis.get(LOCK_NAME) != token:
                return False
            # The first try was applied, but its answer was lost.
            self._lock.local.token = token
            self._lock.reacquire()
            return True
        except LockError:
            return False
        except RedisError as error:
            logger.warning("Redis cannot be asked, the lease row alone decides: %s", error)
            return None

    def _refresh_lock(self) -> None:
        """Best effort: the row decides, and a lock lost with a restarted Redis is taken again."""
        try:
            if self._lock.owned():
                self._lock.reacquire()
            else:
                self._take_lock()
        except RedisError as error:
            logger.warning("The lock in Redis was not renewed: %s", error)

    def _leave_lock(self) -> None:
        try:
            if self._lock.local.token is not None:
                self._lock.release()
        except LockError:
            logger.info("The lock in Redis had gone already.")
        except RedisError as error:
            logger.warning("The lock in Redis was not released, it ends by itself: %s", error)
        self._lock = self._new_lock()


def lease_age() -> float:
    """Seconds since whoever holds the lease has renewed it, by the database's clock; 0 when nobody ever had it."""
    with connection.cursor() as cursor:
        cursor.execute(AGE)
        row = cursor.fetchone()
    return 0.0 if row is None else float(row[0])

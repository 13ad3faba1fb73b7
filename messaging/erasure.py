"""Forgetting a person: what was said becomes as if deleted, and another name stands wherever the person was named.

An erasure begins with `accounts.services.begin_erasure`, which closes the account and keeps the name in an `Erasure`
row. The rest is done here, in batches, each in a transaction: it may be killed at any time, and begun anew. What is
still on its way (records of the log that are not stored yet, or that a web process cut off from PostgreSQL still adds)
is met by a second pass, when all that could come is stored; then the row with the name goes.
"""

import logging
from array import array
from collections.abc import Iterable
from datetime import timedelta
from threading import Event, Thread

import orjson
from confluent_kafka import KafkaException
from django.contrib.admin.models import LogEntry
from django.db import DatabaseError, InterfaceError, connection, transaction
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Coalesce, Concat, Now, Substr
from django.utils import timezone
from redis.exceptions import RedisError

from accounts.cache import Entry, VersionedCache, user_key
from accounts.models import Erasure
from accounts.services import end_erasure, purge_access_changes
from events.letter_box import rename_decider_step
from events.producing import ConfirmingProducer, OutgoingRecord
from events.topics import Topic
from messaging.database import GRACE
from messaging.frames import change_envelope
from messaging.history import stored_offset
from messaging.last_message import LastMessages
from messaging.log import LogWatch, group_of
from messaging.models import Message
from messaging.protocol import ChangeFrame
from messaging.reports import forget_reports_step
from outbox.services import rename_in_outbox_step
from rooms.blocks import forget_blocks_step
from rooms.models import Membership, Room
from rooms.moderation import forget_bans_step
from rooms.moderation_log import rename_step
from rooms.services import leave_for_good, lock_rooms_step

logger = logging.getLogger(__name__)

BATCH = 1000  # rows of one transaction
# After so long no web process acts any more for somebody whose account was closed.
SETTLED = timedelta(seconds=GRACE + 15)
# Messages that people may have before their eyes: these are also deleted in the log, which tells live clients.
# Everybody else finds them empty at the next look.
MAX_TOLD = 1000
TOLD = timedelta(days=1)
INTERVAL = 5.0  # seconds between two looks for erasures
# A service is away.
WAITING = (DatabaseError, InterfaceError, RedisError, KafkaException)


class Eraser:
    """Carries erasures out, as far as they can be at the moment. Of several at once each does a part."""

    def __init__(
        self, cache: VersionedCache, log: LogWatch, bootstrap_servers: str, *, settled: timedelta = SETTLED,
        batch: int = BATCH,
    ) -> None:  # fmt: skip
        self._cache = cache
        self._last_messages = LastMessages(cache)
        self._log = log
        self._producer = ConfirmingProducer(bootstrap_servers, client_id="erasure")
        self._settled = settled
        self._batch = batch
        # Erasures whose first pass this process has done.
        self._begun: set[int] = set()

    def run(self) -> None:
        """Forget also whose rights changed long ago: this is where somebody surely looks every few seconds.

        Raises Django's database errors, `redis.RedisError` and `KafkaException`: then call it again."""
        purge_access_changes(limit=self._batch)
        for erasure in Erasure.objects.select_related("user").order_by("pk"):
            try:
                self.advance(erasure)
            except WAITING:
                raise
            except Exception:
                # It is tried again, and must neither end the thread nor keep the others waiting.
                logger.exception("The erasure of person %d has failed.", erasure.user_id)

    def advance(self, erasure: Erasure) -> bool:
        """Erase what is stored; true when that was all, and the erasure is over."""
        nothing_comes = self._is_settled(erasure)
        if nothing_comes or erasure.pk not in self._begun:
            self._leave_rooms(erasure)
            self._empty_messages(erasure)
            self._rename(erasure)
            self._begun.add(erasure.pk)
        if nothing_comes:
            end_erasure(erasure=erasure)
            logger.info("The erasure of person %d is over.", erasure.user_id)
        return nothing_comes

    def _is_settled(self, erasure: Erasure) -> bool:
        """Whether nothing of the person can come any more: asked before the pass that finds all that has come."""
        if not Erasure.objects.filter(pk=erasure.pk, started_at__lt=Now() - self._settled).exists():
            return False
        return all((stored_offset(partition) or 0) >= end for partition, end in self._log.ends().items())

    def _leave_rooms(self, erasure: Erasure) -> None:
        rooms = Membership.objects.filter(user=erasure.user).order_by("pk").values_list("room_id", flat=True)
        for room in list(rooms):
            leave_for_good(room_id=room, user=erasure.user)

    # Messages

    def _empty_messages(self, erasure: Erasure) -> None:
        mine = Message.objects.filter(sender=erasure.user_id).exclude(sender_name=erasure.user.username)
        # Eight bytes for each; reading them page by page would sort them anew for each page.
        pks = array("q", mine.order_by("pk").values_list("pk", flat=True).iterator(chunk_size=2_000))
        told_from = pks[-MAX_TOLD] if len(pks) > MAX_TOLD else 0
        for start in range(0, len(pks), self._batch):
            rows = self._empty_batch(erasure, pks[start : start + self._batch].tolist())
            # Behind the commit: while Kafka is away nobody's room may be locked.
            self._tell(erasure, [row for row in rows if row.pk >= told_from and row.time > timezone.now() - TOLD])

    @transaction.atomic
    def _empty_batch(self, erasure: Erasure, pks: list[int]) -> list[Message]:
        alias, mine = erasure.user.username, Message.objects.filter(pk__in=pks)
        # Storing locks rooms first and messages then.
        lock_rooms_step(set(mine.values_list("room_id", flat=True)))
        # Another process may have been here meanwhile.
        rest = mine.exclude(sender_name=alias).only("pk", "room_id", "uid", "time")
        rows = list(rest.order_by("pk").select_for_update())
        Message.objects.filter(pk__in=[row.pk for row in rows]).update(
            text="",
            words=None,
            reply_to=None,
            sender_name=alias,
            edited_by="",
            edit_ids=None,
            deleted_at=Coalesce("deleted_at", Now()),
            deleted_by=Case(When(deleted_by__in=["", erasure.username], then=Value(alias)), default=F("deleted_by")),
        )
        # Within the transaction: a crash behind it would leave the texts in Redis.
        self._last_messages.rebuild(sorted({row.room_id for row in rows}))
        return rows

    def _tell(self, erasure: Erasure, rows: Iterable[Message]) -> None:
        """Delete messages in their room's log too. Storage passes that over, since it is done."""
        records = []
        for row in rows:
            change = ChangeFrame(id="", room=row.room_id, message=str(row.uid), text=None)
            envelope = change_envelope(change, by=erasure.user.username, by_id=erasure.user_id)
            headers = {"id": envelope["id"], "type": envelope["type"]}
            records.append(OutgoingRecord(group_of(row.room_id), orjson.dumps(envelope), headers))
        if records:
            self._producer.produce(Topic.MESSAGE_CREATED.value, records)

    # The name

    def _rename(self, erasure: Erasure) -> None:
        old, new = erasure.username, erasure.user.username
        for batch in (self._rename_in_notices, self._rename_in_deletions, self._rename_in_outbox):
            while batch(old, new) == self._batch:
                pass
        _forget_relations(erasure)
        _rename_in_logs(erasure, old, new)
        self._cache.write([Entry(user_key(old), erasure.user.version, None)])

    @transaction.atomic
    def _rename_in_notices(self, old: str, new: str) -> int:
        rows = list(Message.objects.notices_naming(old).order_by("pk").select_for_update()[: self._batch])
        for row in rows:
            told = row.notice or {}
            row.notice = {**told, **{field: new for field in ("user", "by") if told.get(field) == old}}
        Message.objects.bulk_update(rows, ["notice"])
        return len(rows)

    @transaction.atomic
    def _rename_in_deletions(self, old: str, new: str) -> int:
        """Of what others said, by a moderator who is erased."""
        deleted = Message.objects.deleted_by_name(old).order_by("pk")
        lock_rooms_step(set(deleted.values_list("room_id", flat=True)[: self._batch]))
        rows = list(deleted.only("pk", "room_id").select_for_update()[: self._batch])
        Message.objects.filter(pk__in=[row.pk for row in rows]).update(deleted_by=new)
        self._last_messages.rebuild(sorted({row.room_id for row in rows}))
        return len(rows)

    @transaction.atomic
    def _rename_in_outbox(self, old: str, new: str) -> int:
        return rename_in_outbox_step(old, new, limit=self._batch)


@transaction.atomic
def _forget_relations(erasure: Erasure) -> None:
    forget_bans_step(erasure.user)
    forget_blocks_step(erasure.user)
    forget_reports_step(erasure.user)


@transaction.atomic
def _rename_in_logs(erasure: Erasure, old: str, new: str) -> None:
    """What those who lead rooms did, what the admin has written down, and who decided about dead letters."""
    rename_step(old, new)
    rename_decider_step(old, new)
    LogEntry.objects.filter(content_type__app_label="accounts", object_repr=old).update(object_repr=new)
    entries = LogEntry.objects.filter(content_type__app_label__in=["rooms", "messaging"])
    # Not rooms: their names are words, and any word may be somebody's name.
    of_people = entries.filter(content_type__model__in=["membership", "ban", "report", "block"])
    of_people.filter(object_repr__startswith=f"{old} ").update(
        object_repr=Concat(Value(new), Substr("object_repr", len(old) + 1))
    )
    of_people.filter(object_repr__endswith=f" blocks {old}").update(object_repr=f"somebody blocks {new}")
    for room in Room.objects.filter(Q(direct_low=erasure.user) | Q(direct_high=erasure.user)):
        entries.filter(content_type__model="room", object_id=str(room.pk)).update(object_repr=room.name)


class ErasureLoop:
    """Looks for erasures every few seconds, in a thread of the event consumer: what a killed process has begun, the
    next one ends. `start()` and `close()` are a pair."""

    def __init__(self, eraser: Eraser, *, interval: float = INTERVAL) -> None:
        self._eraser = eraser
        self._interval = interval
        self._closing = Event()
        self._thread = Thread(target=self._run, name="erasure", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Waits for a batch that is under way only as long as a look takes; the rest is rolled back or done anew."""
        self._closing.set()
        self._thread.join(self._interval)

    def _run(self) -> None:
        failing = False
        while not self._closing.wait(self._interval):
            try:
                self._eraser.run()
                failing = False
            except WAITING as error:
                if not failing:
                    logger.warning("An erasure has to wait: %s", type(error).__name__)
                failing = True
            finally:
                connection.close()

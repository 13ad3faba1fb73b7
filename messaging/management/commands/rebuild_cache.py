"""Write people, rooms and last messages into Redis anew from PostgreSQL, and take out what is gone. May run at any
time, also beside the event consumer: an old version never overwrites a newer one. After PostgreSQL was restored from a
backup empty Redis first, which then holds newer versions than the rows."""

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db.models import QuerySet
from redis.exceptions import RedisError

from accounts.cache import Entry, VersionedCache, user_key
from accounts.models import User
from accounts.services import user_state
from messaging.last_message import LastMessages
from rooms.cache import room_key
from rooms.models import Room
from rooms.services import room_state

BATCH = 1000  # rows


class Command(BaseCommand):
    help = __doc__

    def handle(self, *args: Any, **options: Any) -> None:
        cache = VersionedCache(settings.REDIS_URL, **settings.REDIS_OPTIONS)
        try:
            people, rooms = _write_people(cache), _write_rooms(cache)
            gone = _forget_people(cache) + _forget_rooms(cache)
        except RedisError as error:
            raise CommandError(f"Redis does not answer; call this again when it does: {error}") from error
        self.stdout.write(f"{people} people and {rooms} rooms are in Redis; {gone} entries were of none.")


def _write_people(cache: VersionedCache) -> int:
    count = 0
    for people in _batches(User.objects.all()):
        entries = (Entry(user_key(person.username), person.version, user_state(person)) for person in people)
        cache.write(entries, anew=True)
        count += len(people)
    return count


def _write_rooms(cache: VersionedCache) -> int:
    count, last_messages = 0, LastMessages(cache)
    for rooms in _batches(Room.objects.select_related("owner", "direct_low", "direct_high")):
        cache.write((Entry(room_key(room.pk), room.version, room_state(room)) for room in rooms), anew=True)
        last_messages.rebuild([room.pk for room in rooms])
        count += len(rooms)
    return count


def _forget_people(cache: VersionedCache) -> int:
    count = 0
    for keys in cache.held("user:"):
        names = {key.removeprefix("user:") for key in keys}
        gone = names - set(User.objects.filter(username__in=names).values_list("username", flat=True))
        cache.forget(map(user_key, gone))
        count += len(gone)
    return count


def _forget_rooms(cache: VersionedCache) -> int:
    """With their last messages."""
    count = 0
    for keys in cache.held("room:"):
        rooms = {key: int(key.split(":")[1]) for key in keys}
        there = set(Room.objects.filter(pk__in=set(rooms.values())).values_list("pk", flat=True))
        gone = [key for key, room in rooms.items() if room not in there]
        cache.forget(gone)
        count += len(gone)
    return count


def _batches(rows: QuerySet[Any]) -> Iterator[list[Any]]:
    last = 0
    while batch := list(rows.filter(pk__gt=last).order_by("pk")[:BATCH]):
        yield batch
        last = batch[-1].pk

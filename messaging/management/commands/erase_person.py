"""Erase a person: close the account, empty what was said, and put a number wherever the person is named. The event
consumer does the rest that is still on its way. May be repeated, also after it was interrupted."""

from argparse import ArgumentParser
from typing import Any

from confluent_kafka import KafkaException
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from redis.exceptions import RedisError

from accounts.cache import VersionedCache
from accounts.models import Erasure, User
from accounts.services import begin_erasure
from messaging.erasure import Eraser
from messaging.log import LogWatch


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="the user id")
        parser.add_argument("--yes", action="store_true", help="do not ask whether that is meant")

    def handle(self, *args: Any, **options: Any) -> None:
        user = _find(options["name"])
        if not options["yes"] and input(f"Erase {user.username} for good? Type the user id: ") != user.username:
            raise CommandError("Nothing was done.")
        begin_erasure(user=user)
        erasure = Erasure.objects.select_related("user").filter(user=user).first()
        if erasure is not None:
            self._advance(erasure)
        self.stdout.write(f"The person is {user.username} now, wherever it is stored.")

    def _advance(self, erasure: Erasure) -> None:
        cache = VersionedCache(settings.REDIS_URL, **settings.REDIS_OPTIONS)
        watch = LogWatch(settings.KAFKA_BOOTSTRAP_SERVERS)
        try:
            over = Eraser(cache, watch, settings.KAFKA_BOOTSTRAP_SERVERS).advance(erasure)
        except (RedisError, KafkaException) as error:
            raise CommandError(f"Not all is done; the event consumer goes on, or call this again: {error}") from error
        if not over:
            self.stdout.write("What is on its way in Kafka is erased by the event consumer when it is stored.")


def _find(name: str) -> User:
    """Also somebody whose erasure has begun, by the former name."""
    begun = Erasure.objects.select_related("user").filter(username=name).first()
    if begun is not None:
        return begun.user
    user = User.objects.find(name)
    if user is None:
        raise CommandError("There is no such person.")
    return user

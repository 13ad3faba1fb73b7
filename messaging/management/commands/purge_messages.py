"""Delete messages that are older than MESSAGE_RETENTION_DAYS; to be run daily, for instance by cron."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from redis.exceptions import RedisError

from accounts.cache import VersionedCache
from messaging.last_message import LastMessages
from messaging.retention import purge_messages


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=float, help="in place of MESSAGE_RETENTION_DAYS")

    def handle(self, *args: Any, **options: Any) -> None:
        days = settings.MESSAGE_RETENTION_DAYS if options["days"] is None else options["days"]
        if days is None:
            self.stdout.write("Messages are kept for ever: MESSAGE_RETENTION_DAYS is not set.")
            return
        if days <= 0:
            raise CommandError("A number of days above 0 is needed.")
        last = LastMessages(VersionedCache(settings.REDIS_URL, **settings.REDIS_OPTIONS))
        try:
            deleted = purge_messages(before=timezone.now() - timedelta(days=days), forget=last.forget)
        except RedisError as error:
            raise CommandError(f"Redis must forget too, and does not answer; call it again: {error}") from error
        self.stdout.write(f"{deleted} messages and notices were deleted.")

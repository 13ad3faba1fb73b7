"""Read the created topics: messages into PostgreSQL, people and rooms into Redis, notifications to the web."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from accounts.cache import UserCacheHandler
from events.consumer import EventConsumer
from events.topics import Topic
from messaging.log import current_epoch
from messaging.storage import MessageStorage
from rooms.cache import RoomCacheHandler


class Command(BaseCommand):
    help = __doc__

    def handle(self, *args: Any, **options: Any) -> None:
        epoch = current_epoch(settings.KAFKA_BOOTSTRAP_SERVERS)
        handlers = {
            Topic.MESSAGE_CREATED: MessageStorage(epoch=epoch, on_stored=lambda rows: None),
            Topic.USER_CREATED: UserCacheHandler(settings.REDIS_URL),
            Topic.ROOM_CREATED: RoomCacheHandler(settings.REDIS_URL, settings.KAFKA_BOOTSTRAP_SERVERS),
        }
        EventConsumer(settings.KAFKA_BOOTSTRAP_SERVERS, handlers=handlers).run()

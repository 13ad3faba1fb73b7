"""Read the created topics: messages into PostgreSQL, people and rooms into Redis, notifications to the web."""

import logging
import signal
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from prometheus_client import start_http_server

from accounts.cache import UserCacheHandler, VersionedCache
from events.consumer import EventConsumer, TopicHandler
from events.topics import Topic
from messaging.last_message import LastMessages
from messaging.log import current_epoch
from messaging.storage import MessageStorage
from rooms.cache import RoomCacheHandler

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = __doc__

    def handle(self, *args: Any, **options: Any) -> None:
        epoch = current_epoch(settings.KAFKA_BOOTSTRAP_SERVERS)
        cache = VersionedCache(settings.REDIS_URL, **settings.REDIS_OPTIONS)
        handlers: dict[Topic, TopicHandler] = {
            Topic.MESSAGE_CREATED: MessageStorage(epoch=epoch, on_stored=LastMessages(cache)),
            Topic.USER_CREATED: UserCacheHandler(cache),
            Topic.ROOM_CREATED: RoomCacheHandler(cache, settings.KAFKA_BOOTSTRAP_SERVERS),
        }
        consumer = EventConsumer(settings.KAFKA_BOOTSTRAP_SERVERS, handlers=handlers)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: consumer.stop())
        if settings.METRICS_PORT:
            start_http_server(settings.METRICS_PORT, addr="127.0.0.1")
        consumer.run()
        logger.info("The event consumer has stopped.")

"""Read the created topics: messages into PostgreSQL, people and rooms into Redis, notifications to the web."""

import logging
import signal
from collections.abc import Callable, Sequence
from threading import Event, Thread
from typing import Any

from confluent_kafka import KafkaException
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.cache import UserCacheHandler, VersionedCache
from events.bad_share import WINDOW
from events.consumer import MAX_BAD, EventConsumer, NothingComes, TopicHandler
from events.probe import serve_probe
from events.producing import ConfirmingProducer
from events.topics import Topic
from events.watchdog import Watchdog
from messaging.activity import RoomActivity
from messaging.erasure import Eraser, ErasureLoop
from messaging.last_message import LastMessages, newest_messages
from messaging.log import LogWatch, epoch_of
from messaging.models import Message
from messaging.storage import MessageStorage, OnStored, Row
from rooms.cache import RoomCacheHandler

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--instance-id",
            help="a name that this process keeps across restarts and no other one has: after a restart within 6 s it"
            " goes on at once, and nothing is handed over",
        )
        parser.add_argument(
            "--max-bad",
            type=int,
            default=MAX_BAD,
            help=f"a partition stands still when more than so many of its last {WINDOW} records are bad; {WINDOW + 1}:"
            " it never does",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        watch = LogWatch(settings.KAFKA_BOOTSTRAP_SERVERS)
        topic_id = watch.topic_id()
        epoch = epoch_of(Topic.MESSAGE_CREATED.value, topic_id)
        cache = VersionedCache(settings.REDIS_URL, **settings.REDIS_OPTIONS)
        activity = RoomActivity(ConfirmingProducer(settings.KAFKA_BOOTSTRAP_SERVERS, client_id="room-activity").produce)
        handlers: dict[Topic, TopicHandler] = {
            Topic.MESSAGE_CREATED: MessageStorage(epoch=epoch, on_stored=_on_stored(LastMessages(cache), activity)),
            Topic.USER_CREATED: UserCacheHandler(cache),
            Topic.ROOM_CREATED: RoomCacheHandler(cache, settings.KAFKA_BOOTSTRAP_SERVERS),
        }
        consumer = EventConsumer(
            settings.KAFKA_BOOTSTRAP_SERVERS,
            handlers=handlers,
            max_bad=options["max_bad"],
            instance_id=options["instance_id"],
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: consumer.stop())
        if settings.METRICS_PORT:
            serve_probe(settings.METRICS_PORT, host=settings.METRICS_HOST, problem=consumer.progress.problem)
        watchdog = Watchdog(settings.KAFKA_BOOTSTRAP_SERVERS, consumer.progress)
        watchdog.start()
        watcher = _Watcher(watch, topic_id, on_change=consumer.stop)
        watcher.start()
        eraser = ErasureLoop(Eraser(cache, watch, settings.KAFKA_BOOTSTRAP_SERVERS))
        eraser.start()
        activity.start()
        try:
            consumer.run()
        except (KafkaException, NothingComes) as error:
            raise CommandError(f"The event consumer cannot go on; start it anew: {error}") from error
        finally:
            watchdog.close()
            eraser.close()
            activity.close()
            changed = watcher.end()
        if changed:
            raise CommandError("The log of messages was created anew: start again, to store it under a new epoch.")
        logger.info("The event consumer has stopped.")


def _on_stored(last_messages: LastMessages, activity: RoomActivity) -> OnStored:
    def tell(epoch: int, partition: int, rows: Sequence[Row], changed: Sequence[Message]) -> None:
        newest = newest_messages(epoch, partition, rows, changed)
        activity.note(newest, rows)
        last_messages.write(newest)

    return tell


class _Watcher(Thread):
    """Stops the consumer when the log was created anew: its records must not be stored as the former one's."""

    def __init__(self, watch: LogWatch, topic_id: str, *, on_change: Callable[[], None]) -> None:
        super().__init__(name="log-watch", daemon=True)
        self._watch = watch
        self._topic_id = topic_id
        self._on_change = on_change
        self._ending = Event()
        self._changed = False

    def run(self) -> None:
        self._changed = self._watch.wait_for_another(self._topic_id, self._ending)
        if self._changed:
            self._on_change()

    def end(self) -> bool:
        """Whether the log was created anew."""
        self._ending.set()
        self.join()
        return self._changed

"""Everything that one process has: a producer, a reader, the rings and mailboxes. Made on first use, and made anew
after a fork.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from threading import Lock
from typing import Any
from uuid import uuid4

from confluent_kafka import KafkaException, TopicPartition

from kafka_layer import producer as producing
from kafka_layer.counters import Counters
from kafka_layer.errors import BrokerUnavailable, LayerClosed, LayerError, NotProduced
from kafka_layer.fanout import Fanout, Limits
from kafka_layer.forwards import Forwards
from kafka_layer.mailbox import Mailboxes
from kafka_layer.partition import partition_of
from kafka_layer.producer import RecordProducer
from kafka_layer.reader import Reader
from kafka_layer.received import CHANNEL_HEADER, ORIGIN_HEADER
from kafka_layer.records import Position
from kafka_layer.routes import Routes
from kafka_layer.shared import SharedChannel
from kafka_layer.topics import Incarnation, Topics
from kafka_layer.wakeups import Wakeups

METADATA_TIMEOUT = 2.0  # seconds; asked again until somebody gives up


class Engine:
    """Sending needs the producer alone; the reader starts with the first member or channel."""

    def __init__(
        self,
        client: Mapping[str, Any],
        routes: Routes,
        limits: Limits,
        capacity_of: Callable[[str], int],
        *,
        partitions: Mapping[str, int],
        group_expiry: float,
        start_timeout: float,
    ) -> None:
        self.pid = os.getpid()
        self.process_id = uuid4().hex  # in the names of this process's channels; its inbox is the id and "!"
        self.counters = Counters(logging.getLogger("kafka_layer"))
        self.mailboxes = Mailboxes(capacity_of, self.counters, expiry=limits.expiry, group_expiry=group_expiry)
        self.forwards = Forwards(self._forward, expiry=group_expiry)
        self.fanout = Fanout(routes, limits, self.mailboxes, self.forwards, self.counters, inbox=f"{self.process_id}!")
        self.ready = False
        self._client = client
        self._routes = routes
        self._limits = limits
        self._topics = Topics(client, routes.topics, partitions=partitions)
        self._start_timeout = start_timeout
        self._lock = Lock()  # guards what follows; never held while Kafka is asked
        self._connecting = Lock()  # held by the one thread that asks Kafka for the topics
        self._producer: RecordProducer | None = None
        self._incarnations: Mapping[str, Incarnation] | None = None  # by topic
        self._failure: LayerError | None = None  # of the last attempt to learn them, if it failed
        self._failed_at = 0.0  # monotonic seconds
        self._reader: Reader | None = None
        self._shared: dict[str, SharedChannel] = {}  # channel without "!" -> its reader in this process
        self._waiters: set[asyncio.Future[None]] = set()  # for the reader to be ready
        self._trouble: LayerError | None = None  # why the reader is not ready yet
        self._closed: LayerClosed | None = None

    async def producer(self) -> RecordProducer:
        """Raises NotProduced when Kafka does not answer or a topic is missing, LayerClosed when this has ended."""
        if self._incarnations is None:
            await asyncio.to_thread(self._connect, time.monotonic())
        return self._make_producer()

    async def start(self) -> Fanout:
        """Returns when the tail is read up to the end that it had when it started. Until then it goes on trying, also
        after this has raised what is in the way.
        """
        if self.ready:
            return self.fanout
        waiter = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._closed is not None:
                raise self._closed.again()
            self._waiters.add(waiter)
            if self._reader is None:
                self._reader = self._make_reader()
        try:
            await asyncio.wait_for(self._until_ready(waiter), self._start_timeout)
        except TimeoutError:
            servers = self._client["bootstrap.servers"]
            late = BrokerUnavailable(f"Kafka at {servers} was not read up to its end in {self._start_timeout:g} s.")
            raise (self._trouble or late).again() from None
        finally:
            with self._lock:
                self._waiters.discard(waiter)
        return self.fanout

    @property
    def has_ended(self) -> bool:
        """Whether nothing is received here any more, because it was closed or because the reader has ended."""
        return self._closed is not None

    def shared(self, channel: str) -> SharedChannel:
        """The reader of a channel that other processes may read too; it lives as long as this."""
        with self._lock:
            if self._closed is not None:
                raise self._closed.again()
            if channel not in self._shared:
                self._shared[channel] = SharedChannel(
                    channel,
                    self._routes.own_topic,
                    self._client,
                    self.mailboxes,
                    self.counters,
                    codec=self._routes.own_codec,
                    expiry=self._limits.expiry,
                    on_death=partial(self._end, LayerClosed(f"The reader of channel {channel} has died; see the log.")),
                )
            return self._shared[channel]

    def home(self, key: str, topic: str) -> tuple[str, int]:
        """Topic and partition of a key. Raises LayerError before the first connection."""
        return topic, partition_of(key, self.incarnation(topic).partitions)

    def incarnation(self, topic: str) -> Incarnation:
        """Raises LayerError before the first connection."""
        if self._incarnations is None:
            raise LayerError("The channel layer has not been started: await start() first.")
        return self._incarnations[topic]

    def delete_before(self, positions: Iterable[Position]) -> None:
        """Delete the records in front of each position; blocks. Raises LayerError."""
        request = [TopicPartition(*position) for position in positions]
        admin = self._topics.admin  # its answers come only while it is kept
        try:
            for future in admin.delete_records(request, request_timeout=10).values():
                future.result()
        except KafkaException as error:
            raise LayerError(f"Kafka did not delete records: {error}") from error

    def close(self) -> None:
        """Blocks until both threads have ended. Whoever still waits gets LayerClosed."""
        if self.pid != os.getpid():
            return
        error = LayerClosed("The channel layer was closed.")
        with self._lock:
            self._closed = self._closed or error
            reader, self._reader = self._reader, None
            producer, self._producer = self._producer, None
            shared, self._shared = list(self._shared.values()), {}
        for channel in shared:
            channel.close()
        if reader is not None:
            reader.close()
        if producer is not None:
            producer.close()
        self._topics.close()
        self._end(error)

    def _connect(self, since: float | None = None) -> Mapping[str, Incarnation]:
        """Ask what the topics are, once for the process. A failure holds for all that have waited `since` before it
        (monotonic seconds): were each of them to ask again, the last one would wait for the sum of it.
        """
        with self._connecting:
            if self._incarnations is not None:
                return self._incarnations
            if self._failure is not None and since is not None and since < self._failed_at:
                raise self._failure.again()
            try:
                self._make_producer()  # says what is wrong with the settings
                self._incarnations = self._topics.resolve(METADATA_TIMEOUT)
            except LayerError as error:
                self._failure, self._failed_at = error, time.monotonic()
                raise
            return self._incarnations

    def _make_producer(self) -> RecordProducer:
        with self._lock:
            if self._closed is not None:
                raise self._closed.again()
            if self._producer is None:
                self._producer = RecordProducer({**producing.SETTINGS, **self._client}, self.counters)
            return self._producer

    def _make_reader(self) -> Reader:
        return Reader(
            self._client,
            self.fanout,
            self.counters,
            topics=self._topics,
            connect=self._connect,
            replayed_topics=self._routes.routed_topics,
            replay=self._limits.replay,
            on_ready=self._become_ready,
            on_trouble=self._remember,
            on_end=self._end,
        )

    def _forward(self, channel: str, value: bytes, origin: str) -> None:
        """From the reader's thread: what a group got, for a channel without "!" that is a member of it."""
        with suppress(NotProduced, LayerClosed):  # counted by the producer, which is full; or all of this is ending
            home = self.home(channel, self._routes.own_topic)
            headers = {CHANNEL_HEADER: channel, ORIGIN_HEADER: origin}
            self._make_producer().produce_unconfirmed(home, channel, value, headers)

    async def _until_ready(self, waiter: "asyncio.Future[None]") -> None:
        if not self.ready:
            await waiter

    def _become_ready(self) -> None:
        self.ready = True
        self._trouble = None
        self._wake(None)

    def _remember(self, error: LayerError) -> None:
        self._trouble = error

    def _end(self, reason: LayerClosed) -> None:
        """The reader has ended, because it was closed or because it died; the first reason counts."""
        self.ready = False
        with self._lock:
            self._closed = self._closed or reason
        self.fanout.close(self._closed)
        self.mailboxes.close(self._closed)
        self._wake(self._closed)

    def _wake(self, error: LayerError | None) -> None:
        wakeups = Wakeups()
        with self._lock:
            for waiter in self._waiters:
                wakeups.add(waiter, error=error)
        wakeups.flush()

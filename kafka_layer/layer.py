"""The channel layer: Channels' own API, and beyond it publish, subscriptions and positions."""

import asyncio
import atexit
import gc
import os
import weakref
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from threading import Lock
from typing import Any
from uuid import uuid4

from channels.exceptions import ChannelFull, MessageTooLarge
from channels.layers import BaseChannelLayer

from kafka_layer.codec import CODECS, encrypted
from kafka_layer.counters import Histogram
from kafka_layer.engine import Engine
from kafka_layer.errors import InvalidRecord, Unsupported
from kafka_layer.fanout import Limits
from kafka_layer.mailbox import Entry
from kafka_layer.producer import QueueFull
from kafka_layer.received import CHANNEL_HEADER, CONTROL_KEY
from kafka_layer.records import Position, Record
from kafka_layer.routes import Route, Routes
from kafka_layer.subscription import Subscription

# For both kinds of clients: come back quickly after a broker did. A broker that hung is missing in the cluster's
# metadata for a moment, and one that stops may say as its last word that there are none: a client that hears it must
# begin again at the bootstrap servers (KIP-899), or it stays cut off for good (confluentinc/librdkafka#5301).
CLIENT: Mapping[str, Any] = {
    "client.id": "kafka-layer",
    "log_level": 2,  # what goes wrong is counted and logged by the layer, at a limited rate
    "metadata.recovery.strategy": "rebootstrap",
    "socket.keepalive.enable": True,
    "reconnect.backoff.ms": 50,
    "reconnect.backoff.max.ms": 500,
}
# Settings on which promises of this layer rest; `client` may not change them.
RESERVED = frozenset({"acks", "auto.offset.reset", "bootstrap.servers", "enable.auto.commit", "enable.idempotence",
                      "enable.partition.eof", "error_cb", "group.id", "group.instance.id", "group.protocol",
                      "isolation.level", "partition.assignment.strategy", "partitioner",
                      "transactional.id"})  # fmt: skip

# A forked child must neither use nor finalise its parent's Kafka handles: it keeps them here, untouched.
_of_the_parent: list[Engine] = []
_pid = os.getpid()  # asking the kernel again with each call would be a quarter of the cost of `receive`


def _become_child() -> None:
    """What was garbage in the parent at the fork, handles in cycles among it, must never be collected in the child
    either: librdkafka crashes when a handle is finalised in a process that did not make it.
    """
    global _pid
    _pid = os.getpid()
    gc.freeze()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_become_child)


class KafkaChannelLayer(BaseChannelLayer):  # type: ignore[misc]
    """One for each process, usable from every thread and event loop of it. Connects on first use.

    Groups whose name matches a route live in its topic and can be replayed; all else travels through `topic`.
    `capacity` and `channel_capacity` (pattern → number) bound the unread messages of one channel; `expiry`,
    `group_expiry` and `replay` are seconds; `partitions` (topic → number) refuses a topic that has another number;
    `symmetric_encryption_keys` encrypts what travels through `topic` (`codec.encrypted`); `client` holds further
    settings of librdkafka, such as SASL and TLS.
    """

    extensions = ("groups", "flush")
    ChannelFull = ChannelFull
    MessageTooLarge = MessageTooLarge

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        topic: str,
        routes: Iterable[Route | Mapping[str, str]] = (),
        capacity: int = 100,
        channel_capacity: Mapping[Any, int] | None = None,
        expiry: float = 60,
        group_expiry: float = 86400,
        replay: float = 60,
        ring_records: int = 5000,
        ring_bytes: int = 4 * 1024 * 1024,
        start_timeout: float = 30,
        partitions: Mapping[str, int] | None = None,
        symmetric_encryption_keys: Sequence[str | bytes] = (),
        client: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(bootstrap_servers, str) or not bootstrap_servers:
            raise ValueError("bootstrap_servers must be a string such as 'host1:9092,host2:9092'.")
        reserved = RESERVED & set(client or ())
        if reserved:
            raise ValueError(f"client must not contain {', '.join(sorted(reserved))}: the layer's promises rest on it.")
        super().__init__(expiry=expiry, capacity=capacity)
        self.channel_capacity = self.compile_capacities(channel_capacity or {})
        self.group_expiry = group_expiry
        codec = CODECS["msgpack"]
        if symmetric_encryption_keys:
            codec = encrypted(codec, symmetric_encryption_keys)
        self._routes = Routes(routes, own_topic=topic, own_codec=codec)
        self._partitions = partitions or {}
        self._limits = Limits(replay=replay, ring_records=ring_records, ring_bytes=ring_bytes, expiry=expiry)
        self._start_timeout = start_timeout
        self._client = {**CLIENT, **(client or {}), "bootstrap.servers": bootstrap_servers}
        self._lock = Lock()
        self._current: Engine | None = None
        atexit.register(_close_at_exit, weakref.ref(self))

    # Life

    async def start(self) -> None:
        """Connect, and read the tails up to their ends. Raises LayerError saying what is in the way; the attempt goes
        on behind the scenes, and `ready` tells when it has succeeded. Starting twice is fine.

        A layer that has ended by itself, since a topic was created anew or its reader died, begins anew: whoever was a
        member before has got LayerClosed, and `topic_id` tells whether positions of before still mean something.
        """
        engine = self._engine
        if engine.has_ended:
            await self._end(engine)
        await self._engine.start()

    async def close(self) -> None:
        """Wait for what is being sent, then end threads and connections. Whoever waits for records gets LayerClosed.
        Closing twice is fine; using the layer again starts it anew.
        """
        engine = self._current
        if engine is not None:
            await self._end(engine)

    async def _end(self, engine: Engine) -> None:
        with self._lock:
            if self._current is engine:
                self._current = None
        await asyncio.to_thread(engine.close)

    @property
    def ready(self) -> bool:
        """Whether this process receives: before that, accept no sockets."""
        return self._current is not None and self._current.ready

    @property
    def counters(self) -> Mapping[str, int]:
        """What happened since this process first used the layer, by name; see README.md."""
        return {**self._engine.counters.snapshot(), "messages_delivered": self._engine.fanout.delivered()}

    @property
    def gauges(self) -> Mapping[str, float]:
        """How things stand: groups, members, ring_records, ring_bytes, lag_seconds."""
        return self._engine.fanout.gauges()

    @property
    def publish_seconds(self) -> Histogram:
        """From publish or group_send until Kafka has confirmed the record."""
        return self._engine.counters.publish_seconds

    # Beyond Channels

    async def publish(
        self,
        group: str,
        message: Mapping[str, Any],
        id: str | None = None,
        headers: Mapping[str, str | bytes] | None = None,
    ) -> Position:
        """Send to a group and return where Kafka has stored it, once all in-sync replicas have it.

        Once started, records of one group keep the order in which publish was called. With an `id`, a repeat within
        `replay` seconds of log time behind the record before it is stored as well, but no reader delivers it.
        Raises NotProduced when nothing left this process, PublishFailed when the outcome is unknown, TypeError or
        ValueError for what cannot be encoded.
        """
        self.require_valid_group_name(group)
        value = self._routes.codec_of(group).encode(message)
        engine = self._engine
        producer = await engine.producer()
        all_headers = dict(headers or {}) if id is None else {**(headers or {}), "id": id}
        return await producer.produce(engine.home(group, self._routes.topic_of(group)), group, value, all_headers)

    def subscription(self) -> Subscription:
        """A member of groups in the running event loop; close it in the end."""
        return Subscription(lambda: self._engine.start())

    def oldest(self, group: str) -> Position:
        """From this position on, everything of the group can be had here: joining `after` the offset before it, or
        any later one, is covered.
        """
        return self._engine.fanout.oldest(group)

    def end(self, group: str) -> Position:
        """The last position of the group's partition that this process has read."""
        return self._engine.fanout.end(group)

    async def reach(self, position: Position) -> None:
        """Wait until this process has read up to `position`, for ever where there is no such. Raises LayerClosed."""
        await self._engine.fanout.reach([position])

    def find(self, group: str, id: str) -> Record | None:
        """The record with this id, while the ring has it."""
        return self._engine.fanout.find(group, id)

    def topic_id(self, group: str) -> str:
        """Of the group's topic; a topic that was created anew has another, and positions of before mean nothing in it.
        Known once started.
        """
        return self._engine.incarnation(self._routes.topic_of(group)).id

    def partition(self, group: str) -> int:
        return self._engine.home(group, self._routes.topic_of(group))[1]

    # Channels

    async def new_channel(self, prefix: str = "specific") -> str:
        engine = self._engine
        await engine.start()
        channel = f"{prefix}.{engine.process_id}!{uuid4().hex}"
        self.require_valid_channel_name(channel)
        return channel

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Raises ChannelFull when a channel of this process is full, or the producer's queue."""
        self.require_valid_channel_name(channel)
        self._require_message(message)
        engine = self._engine
        codec = self._routes.own_codec
        value = codec.encode(message)
        owner = _owner(channel)
        if owner == engine.process_id:
            if not engine.mailboxes.put(channel, partial(codec.decode, value)):
                raise ChannelFull(channel)
            return
        producer = await engine.producer()
        key = f"{owner}!" if owner else channel
        home = engine.home(key, self._routes.own_topic)
        try:
            producer.produce_unconfirmed(home, key, value, {CHANNEL_HEADER: channel})
        except QueueFull as error:
            raise ChannelFull(channel) from error

    async def receive(self, channel: str) -> dict[str, Any]:
        """The channel's next message, for one reader alone. Cancelling it loses nothing: a message is taken in the
        same step in which it is returned.
        """
        engine = self._engine
        while True:
            entry = engine.mailboxes.take(channel)
            if entry is None:
                entry = await self._wait_for_entry(engine, channel)
            try:
                return entry.decode()
            except InvalidRecord as error:
                engine.counters.add_loss("records_invalid", error)

    async def group_add(self, group: str, channel: str) -> None:
        """What any process sends to the group after this returned reaches the channel. A channel without `!` is a
        member as long as this process lives.
        """
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        engine = self._engine
        if not _owner(channel):
            await engine.start()
            engine.forwards.add(group, channel)
            return
        self._require_own(channel, engine)
        await engine.start()
        engine.mailboxes.add_to_group(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        """Discarding what is no member does nothing. A channel without `!` is discarded in every process, here at once
        and elsewhere when that process has read it.
        """
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        engine = self._engine
        if not _owner(channel):
            engine.forwards.discard(group, channel)
            await self._command({"do": "discard", "group": group, "channel": channel}, partitions=[0])
            return
        self._require_own(channel, engine)
        engine.mailboxes.discard_from_group(group, channel)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send without waiting for Kafka; what cannot be sent is counted. Raises MessageTooLarge, never ChannelFull."""
        self.require_valid_group_name(group)
        self._require_message(message)
        engine = self._engine
        value = self._routes.codec_of(group).encode(message)
        producer = await engine.producer()
        try:
            producer.produce_unconfirmed(engine.home(group, self._routes.topic_of(group)), group, value, {})
        except QueueFull:
            return  # counted by the producer; the specification drops it

    async def flush(self) -> None:
        """Forget all channels, messages and memberships, in every process that uses the layer's own topic: here when
        this returns, elsewhere when it is read there, in each partition by itself. Needs the right to delete records of
        the topic. Groups of routes keep their logs.
        """
        engine = self._engine
        await engine.start()
        # Again, for what the first round met on its way from a group to a channel without `!`.
        for _ in range(2):
            partitions = range(engine.incarnation(self._routes.own_topic).partitions)
            positions = await self._command({"do": "flush"}, partitions=partitions)
            await asyncio.to_thread(engine.delete_before, positions)
            await asyncio.wait_for(engine.fanout.reach(positions), self._start_timeout)

    # Helpers

    @property
    def _engine(self) -> Engine:
        engine = self._current
        if engine is not None and engine.pid == _pid:
            return engine
        with self._lock:
            if self._current is not None and self._current.pid != _pid:
                _of_the_parent.append(self._current)
                self._current = None
            if self._current is None:
                self._current = Engine(
                    self._client,
                    self._routes,
                    self._limits,
                    self.get_capacity,
                    partitions=self._partitions,
                    group_expiry=self.group_expiry,
                    start_timeout=self._start_timeout,
                )
            return self._current

    def require_valid_channel_name(self, name: str, receive: bool = False) -> bool:
        _require_one_line(name)
        return bool(super().require_valid_channel_name(name, receive))

    def require_valid_group_name(self, name: str) -> bool:
        _require_one_line(name)
        return bool(super().require_valid_group_name(name))

    async def _wait_for_entry(self, engine: Engine, channel: str) -> Entry:
        """Nothing is awaited between taking an entry and returning it."""
        if not engine.mailboxes.has(channel):  # or its name was looked at when it got its mailbox
            self.require_valid_channel_name(channel)
        owner = _owner(channel)
        if owner is not None and owner != engine.process_id:
            raise _unsupported(channel)
        if not engine.ready:
            await engine.start()
        shared = None if owner else engine.shared(channel)
        while True:
            waiter = asyncio.get_running_loop().create_future()
            entry = engine.mailboxes.take(channel, waiter)
            if entry is not None:
                return entry
            if shared is not None:
                shared.ask()
            try:
                await waiter
            except BaseException:
                engine.mailboxes.stop_waiting(channel, waiter)
                raise

    async def _command(self, control: dict[str, Any], *, partitions: Iterable[int]) -> list[Position]:
        """Tell every process that tails the layer's own topic; returns when Kafka has it."""
        topic, value = self._routes.own_topic, self._routes.own_codec.encode(control)
        producer = await self._engine.producer()
        return await asyncio.gather(*[producer.produce((topic, p), CONTROL_KEY, value, {}) for p in partitions])

    def _require_message(self, message: object) -> None:
        if not isinstance(message, dict):
            raise TypeError("A message must be a dict.")
        if "__asgi_channel__" in message:
            raise ValueError("The key __asgi_channel__ is reserved.")

    def _require_own(self, channel: str, engine: Engine) -> None:
        if _owner(channel) != engine.process_id:
            raise _unsupported(channel)


def _owner(channel: str) -> str | None:
    """The id of the process that the channel belongs to; None when any process may read it."""
    local, mark, _ = channel.partition("!")
    return local.rpartition(".")[2] if mark else None


def _unsupported(channel: str) -> Unsupported:
    return Unsupported(f"Channel {channel!r} belongs to another process, and only that one can do this.")


def _require_one_line(name: object) -> None:
    """Channels' own check lets a newline at the end pass."""
    if isinstance(name, str) and name.endswith("\n"):
        raise TypeError(f"A name must not end with a newline: {name!r}")


def _close_at_exit(reference: "weakref.ref[KafkaChannelLayer]") -> None:
    """What was sent without waiting must still leave the process."""
    layer = reference()
    if layer is not None and layer._current is not None:
        layer._current.close()

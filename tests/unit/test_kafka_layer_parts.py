import asyncio
import logging
import math
import time
from typing import Any

import pytest

from kafka_layer import InvalidRecord, LayerClosed, Position, Route
from kafka_layer.codec import CODECS
from kafka_layer.counters import Counters
from kafka_layer.mailbox import Entry, Mailbox, Mailboxes
from kafka_layer.partition import partition_of
from kafka_layer.records import Record
from kafka_layer.routes import Routes
from kafka_layer.wakeups import Wakeups

# Hashes from the tests of Kafka's Java client.
MURMUR2 = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}


@pytest.mark.parametrize(("key", "hash"), MURMUR2.items())
def test_partitions_are_those_of_the_java_client(key: str, hash: int) -> None:
    """Senders and readers of any Kafka client agree where a key lives."""
    for count in (1, 3, 7, 64):
        assert partition_of(key, count) == (hash & 0x7FFFFFFF) % count


@pytest.mark.parametrize("name", ["json", "msgpack"])
def test_a_codec_gives_back_what_it_was_given(name: str) -> None:
    """Text of any script, numbers, lists and nothing survive unchanged."""
    message = {"type": "x", "text": "한글 🎉 \n", "n": -(2**63), "f": 1.5, "l": [1, [True, None]], "d": {"k": "v"}}
    codec = CODECS[name]
    assert codec.decode(codec.encode(message)) == message


def test_msgpack_carries_bytes_and_turns_tuples_into_lists() -> None:
    """As the specification of channel layers asks."""
    codec = CODECS["msgpack"]
    assert codec.decode(codec.encode({"b": b"\x00\xff", "t": (1, 2)})) == {"b": b"\x00\xff", "t": [1, 2]}


def test_json_is_plain_utf8_without_spaces() -> None:
    """Other programs read the topics of routes too."""
    assert CODECS["json"].encode({"a": "é", "b": 1}) == '{"a":"é","b":1}'.encode()


@pytest.mark.parametrize("message", [{"x": math.nan}, {"x": b"bytes"}, {"x": "\ud800"}, {"x": object()}])
def test_json_refuses_what_it_cannot_carry(message: dict[str, object]) -> None:
    """Before anything is sent."""
    with pytest.raises((TypeError, ValueError)):
        CODECS["json"].encode(message)


@pytest.mark.parametrize("name", ["json", "msgpack"])
@pytest.mark.parametrize("value", [b"", b"{", b"[1]", b"\xc1", b"\xff\xfe", b"1", b"[" * 100_000, b'{"x":"\\ud800"}'])
def test_what_is_no_message_is_an_invalid_record(name: str, value: bytes) -> None:
    """Whatever stands in a record, decoding it raises this error and no other."""
    with pytest.raises(InvalidRecord):
        CODECS[name].decode(value)


def test_the_first_route_that_matches_decides() -> None:
    """What no route claims lives in the layer's own topic, as msgpack."""
    routes = Routes([{"pattern": "room.*", "topic": "a"}, Route(pattern="r*", topic="b")], own_topic="own")
    assert [routes.topic_of(group) for group in ("room.1", "rooms", "user.1")] == ["a", "b", "own"]
    assert routes.codec_of("room.1") is CODECS["json"]
    assert routes.codec_of("user.1") is CODECS["msgpack"]
    assert routes.topics == ("a", "b", "own")


def test_wrong_routes_are_refused() -> None:
    """At once, and with the reason."""
    with pytest.raises(ValueError, match="format 'xml' is none of json, msgpack"):
        Route(pattern="*", topic="t", format="xml")
    with pytest.raises(ValueError, match="own topic 't' cannot be the topic of a route"):
        Routes([{"pattern": "*", "topic": "t"}], own_topic="t")


def entry(number: int, *, expires_at: float | None = None) -> Entry:
    return Entry(lambda: {"n": number}, expires_at)


def test_a_mailbox_is_full_at_its_capacity() -> None:
    """What comes then is refused; what waits already stays, in order."""
    mailbox = Mailbox(2, now=0)
    assert [mailbox.put(entry(number), now=0) for number in range(3)] == [True, True, False]
    taken = [mailbox.take(now=0) for _ in range(3)]
    assert [item and item.decode()["n"] for item in taken] == [0, 1, None]


def test_expired_messages_occupy_no_place_and_are_not_delivered() -> None:
    """A full mailbox of old messages takes new ones."""
    mailbox = Mailbox(2, now=0)
    mailbox.put(entry(0, expires_at=10), now=0)
    mailbox.put(entry(1, expires_at=None), now=0)
    assert mailbox.put(entry(2), now=11)
    taken = [mailbox.take(now=11) for _ in range(2)]
    assert [item and item.decode()["n"] for item in taken] == [1, 2]


def make_mailboxes(*, expiry: float = 60, group_expiry: float = 86400) -> Mailboxes:
    counters = Counters(logging.getLogger("test"))
    return Mailboxes(lambda _: 2, counters, expiry=expiry, group_expiry=group_expiry)


def deliver(mailboxes: Mailboxes, group: str, number: int, *, expires_at: float | None = None) -> None:
    wakeups = Wakeups()
    mailboxes.deliver_to_group(group, entry(number, expires_at=expires_at), wakeups)
    wakeups.flush()


async def test_a_channel_that_nobody_reads_is_forgotten_with_its_memberships() -> None:
    """A consumer that vanished without a word costs memory until a message to it expires, and no longer."""
    mailboxes = make_mailboxes(expiry=0)
    mailboxes.add_to_group("g", "c!1")
    mailboxes.sweep()
    assert mailboxes.has_group("g")
    deliver(mailboxes, "g", 1, expires_at=time.monotonic())
    mailboxes.sweep()
    assert not mailboxes.has_group("g")
    assert mailboxes._mailboxes == {}


async def test_a_channel_that_is_waited_for_is_never_forgotten() -> None:
    """However long nothing comes."""
    mailboxes = make_mailboxes(expiry=0)
    waiter = asyncio.get_running_loop().create_future()
    assert mailboxes.take("c!1", waiter) is None
    mailboxes.sweep()
    mailboxes.clear()
    assert mailboxes.put("c!1", dict)
    async with asyncio.timeout(1):
        await waiter


async def test_every_reader_of_a_channel_hears_of_each_message() -> None:
    """One of them takes it; the other waits again and gets the next one."""
    mailboxes = make_mailboxes()
    waiters = [asyncio.get_running_loop().create_future() for _ in range(2)]
    assert [mailboxes.take("c!1", waiter) for waiter in waiters] == [None, None]
    assert mailboxes.put("c!1", lambda: {"n": 1})
    async with asyncio.timeout(1):
        await asyncio.gather(*waiters)
    slower = asyncio.get_running_loop().create_future()
    first, nothing = mailboxes.take("c!1"), mailboxes.take("c!1", slower)
    assert first is not None and nothing is None
    assert mailboxes.put("c!1", lambda: {"n": 2})
    async with asyncio.timeout(1):
        await slower
    assert mailboxes.delivered == 1


def test_what_is_sent_to_a_closed_layers_channel_is_refused() -> None:
    """Nobody will read it, and its sender hears of that."""
    mailboxes = make_mailboxes()
    mailboxes.close(LayerClosed("closed"))
    with pytest.raises(LayerClosed):
        mailboxes.put("c!1", dict)


def test_a_message_that_is_given_back_cannot_be_read_here_any_more() -> None:
    """Or another process and this one would both have it."""
    mailboxes = make_mailboxes()
    assert not mailboxes.withdraw("worker")
    mailboxes.put("worker", dict)
    assert mailboxes.withdraw("worker")
    assert mailboxes.take("worker") is None


def test_an_error_that_is_raised_again_and_again_keeps_nothing_alive() -> None:
    """A process that has ended by itself may be asked for thousands of channels until it is restarted."""
    mailboxes = make_mailboxes()
    mailboxes.close(LayerClosed("closed"))
    for _ in range(100):
        with pytest.raises(LayerClosed) as raised:
            mailboxes.take("c!1")
    assert len(raised.traceback) < 10


def test_a_look_at_an_unknown_channel_leaves_nothing_behind() -> None:
    """Only who waits for a channel, or is sent to, gets a mailbox."""
    mailboxes = make_mailboxes()
    assert mailboxes.take("c!1") is None
    assert not mailboxes.has("c!1")


@pytest.mark.parametrize("message", [{"n": 1, "text": "x"}, {"n": 1, "people": ["a", {"b": []}]}])
def test_each_decoding_of_a_record_is_a_dict_of_its_own(message: dict[str, Any]) -> None:
    """Flat messages are copied and others decoded again: what one reader changes no other sees."""
    codec = CODECS["msgpack"]
    record = Record(Position("t", 0, 0), "g", codec.encode(message), codec=codec, headers=[], timestamp_ms=0, arrived=0)
    first = record.decode()
    first["n"] = 2
    for value in first.values():
        if isinstance(value, list):
            value[1]["b"].append("changed")
    assert record.decode() == message
    assert record.message == message


async def test_a_membership_ends_when_it_is_not_renewed() -> None:
    """After group_expiry seconds."""
    mailboxes = make_mailboxes(group_expiry=0)
    mailboxes.add_to_group("g", "c!1")
    mailboxes.sweep()
    assert not mailboxes.has_group("g")


async def test_discarding_what_is_no_member_does_nothing() -> None:
    """As the specification says; adding twice is adding once."""
    mailboxes = make_mailboxes()
    mailboxes.discard_from_group("g", "c!1")
    for _ in range(3):
        mailboxes.add_to_group("g", "c!1")
    deliver(mailboxes, "g", 1)
    waiter = asyncio.get_running_loop().create_future()
    assert mailboxes.take("c!1", waiter) is not None
    assert mailboxes.take("c!1", waiter) is None
    mailboxes.discard_from_group("g", "c!1")
    assert not mailboxes.has_group("g")


async def test_an_event_loop_that_was_closed_disturbs_nobody() -> None:
    """A waiter in a loop that has gone does not keep the others from waking."""
    closed = asyncio.new_event_loop()
    orphan, waiter = closed.create_future(), asyncio.get_running_loop().create_future()
    closed.close()
    wakeups = Wakeups()
    wakeups.add(orphan)
    wakeups.add(waiter, "here")
    wakeups.flush()
    async with asyncio.timeout(1):
        assert await waiter == "here"


def test_losses_are_counted_all_and_logged_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    """A flood of losses does not become a flood of lines."""
    counters = Counters(logging.getLogger("test"), log_interval=60)
    for number in range(1000):
        counters.add_loss("gaps", f"number {number}")
    assert counters.snapshot() == {"gaps": 1000}
    assert [record.getMessage() for record in caplog.records] == ["gaps (1 so far): number 0"]

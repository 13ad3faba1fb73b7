import math

import pytest

from kafka_layer import InvalidRecord, Route
from kafka_layer.codec import CODECS
from kafka_layer.mailbox import Entry, Mailbox
from kafka_layer.partition import partition_of
from kafka_layer.routes import Routes

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

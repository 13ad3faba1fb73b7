"""What a Kafka message from a broker carries, in the types it then has."""

from typing import cast

from confluent_kafka import Message

from kafka_layer.records import Position

CHANNEL_HEADER = "channel"  # on a direct message: the full name of the channel; its key is the process's inbox
ORIGIN_HEADER = "origin"  # on a direct message that a group got: the place of the group's record
CONTROL_KEY = "!"  # of records for every process's layer itself; no name of a group, channel or inbox


def position_of(message: Message) -> Position:
    return Position(cast(str, message.topic()), cast(int, message.partition()), cast(int, message.offset()))


def key_of(message: Message) -> str | None:
    """None for a key that is no group's name."""
    key = message.key()
    try:
        return key.decode() if key is not None else None
    except UnicodeDecodeError:
        return None


def headers_of(message: Message) -> list[tuple[str, bytes | None]]:
    return cast("list[tuple[str, bytes | None]]", message.headers() or [])


def channel_of(headers: list[tuple[str, bytes | None]]) -> str | None:
    """None when it is not a direct message. Whatever a foreign producer has written there, nothing is raised."""
    return _header(headers, CHANNEL_HEADER)


def origin_of(headers: list[tuple[str, bytes | None]]) -> str | None:
    """None when it was not sent to a group."""
    return _header(headers, ORIGIN_HEADER)


def _header(headers: list[tuple[str, bytes | None]], wanted: str) -> str | None:
    value = next((value for name, value in headers if name == wanted), None)
    return value.decode(errors="replace") if value else None

"""How a message is written into the value of a record."""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgpack

from kafka_layer.errors import InvalidRecord


class Codec(NamedTuple):
    """`encode` raises TypeError or ValueError for what the format cannot carry; `decode` gives a new dict each time."""

    encode: Callable[[Mapping[str, Any]], bytes]
    decode: Callable[[bytes], dict[str, Any]]


def _encode_json(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _decode_json(value: bytes) -> dict[str, Any]:
    try:
        message = json.loads(value)
        if rb"\u" in value:
            _encode_json(message)  # an escaped lone surrogate is a text that nobody could send on
        return _require_dict(message)
    except (ValueError, RecursionError) as error:
        raise InvalidRecord(f"not JSON: {error}") from error


def _encode_msgpack(message: Mapping[str, Any]) -> bytes:
    encoded: bytes = msgpack.packb(message, use_bin_type=True)
    return encoded


def _decode_msgpack(value: bytes) -> dict[str, Any]:
    try:
        return _require_dict(msgpack.unpackb(value, raw=False, strict_map_key=False))
    except (ValueError, msgpack.UnpackException) as error:
        raise InvalidRecord(f"not msgpack: {error}") from error


def _require_dict(decoded: object) -> dict[str, Any]:
    if not isinstance(decoded, dict):
        raise InvalidRecord(f"a {type(decoded).__name__} is no message")
    return decoded


CODECS: Mapping[str, Codec] = {
    "json": Codec(_encode_json, _decode_json),
    "msgpack": Codec(_encode_msgpack, _decode_msgpack),
}

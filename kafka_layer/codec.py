"""How a message is written into the value of a record."""

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
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


def encrypted(codec: Codec, keys: Sequence[str | bytes]) -> Codec:
    """The same messages, to be read and made only by who has one of `keys` (Fernet: AES-128-CBC and HMAC-SHA256).

    The first key encrypts and each of them decrypts. So a new one is added at the end, put in front when every process
    has it, and the old one is taken away when `expiry` has passed since. Needs the package `cryptography`.
    """
    if isinstance(keys, str | bytes):
        raise ValueError("symmetric_encryption_keys must be a list of keys, even if there is only one.")
    try:
        from cryptography.fernet import Fernet, InvalidToken, MultiFernet
    except ImportError as error:
        raise ValueError("symmetric_encryption_keys needs the package cryptography: install it.") from error
    fernet = MultiFernet([Fernet(_derive(key)) for key in keys])

    def encode(message: Mapping[str, Any]) -> bytes:
        # Without the text form of Fernet's token, which is a third longer.
        return urlsafe_b64decode(fernet.encrypt(codec.encode(message)))

    def decode(value: bytes) -> dict[str, Any]:
        try:
            return codec.decode(fernet.decrypt(urlsafe_b64encode(value)))
        except InvalidToken as error:
            raise InvalidRecord("not encrypted with any of the keys") from error

    return Codec(encode, decode)


def _derive(key: str | bytes) -> bytes:
    return urlsafe_b64encode(hashlib.sha256(key.encode() if isinstance(key, str) else key).digest())

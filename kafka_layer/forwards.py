"""Channels without `!` as members of groups.

The process that added such a channel sends it what the group gets, as long as it lives: other processes would have to
agree who does. Where several added the same channel each sends, and the channel's reader drops the repeats by the
place in the log that they name (`shared.py`).
"""

import time
from collections.abc import Callable
from threading import Lock

from kafka_layer.codec import Codec
from kafka_layer.records import Record

# Called with the channel, the encoded message, and the place of the group's record.
Send = Callable[[str, bytes, str], None]


class Forwards:
    """Safe for threads. `expiry`: seconds from the last `add` until a membership ends."""

    def __init__(self, send: Send, *, expiry: float) -> None:
        self._send = send
        self._expiry = expiry
        self._lock = Lock()
        self._groups: dict[str, dict[str, float]] = {}  # group -> channel -> monotonic seconds of the last add

    def add(self, group: str, channel: str) -> None:
        with self._lock:
            self._groups.setdefault(group, {})[channel] = time.monotonic()

    def discard(self, group: str, channel: str) -> None:
        with self._lock:
            channels = self._groups.get(group, {})
            channels.pop(channel, None)
            if not channels:
                self._groups.pop(group, None)

    def has_group(self, group: str) -> bool:
        return group in self._groups

    def pass_on(self, record: Record, codec: Codec) -> None:
        """Send a group's record to the group's channels, in `codec`. Raises InvalidRecord."""
        with self._lock:
            oldest = time.monotonic() - self._expiry
            channels = [channel for channel, added in self._groups.get(record.group, {}).items() if added > oldest]
        if channels:
            value, origin = codec.encode(record.decode()), "{}:{}:{}".format(*record.position)
            for channel in channels:
                self._send(channel, value, origin)

    def sweep(self) -> None:
        """Forget memberships that were not renewed."""
        oldest = time.monotonic() - self._expiry
        with self._lock:
            lasting = {g: {c: t for c, t in channels.items() if t > oldest} for g, channels in self._groups.items()}
            self._groups = {group: channels for group, channels in lasting.items() if channels}

    def clear(self) -> None:
        with self._lock:
            self._groups.clear()

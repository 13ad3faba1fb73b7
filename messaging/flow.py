"""Flow control of one socket (protocol.md): how much of what was sent the client has certainly read.

A WebSocket server may take any amount of data for a client that never reads (daphne has no backpressure), so the
protocol carries its own: a ping marks a place in what was sent, and its pong says that the client has come there.
"""

import secrets

PING_INTERVAL = 20.0  # seconds between two pings on a quiet socket
PING_BYTES = 256 * 1024  # a ping follows at the latest after so much
# Nothing more is sent while this much is beyond the last ping that was answered. One frame may go over it, and the
# largest (a batch of the layer, a part of a resume) has about 256 KiB: together the 1 MiB of the protocol.
WINDOW = 768 * 1024
PONG_DEADLINE = 15.0  # seconds without a pong while nothing waits to be sent
STALL_DEADLINE = 30.0  # seconds without a pong while something does


class FlowControl:
    """Bookkeeping alone: the caller sends, and hands in the loop's time in seconds."""

    def __init__(self, now: float) -> None:
        self._sent = 0  # bytes
        self._read = 0  # bytes, by the newest pong
        self._pinged = 0  # bytes sent before the newest ping
        self._pinged_at = now
        # (id, bytes sent before it) of the pings that were not answered yet, oldest first; a full window holds four.
        self._pings: list[tuple[str, int]] = []
        # When the client last had a reason to answer: a pong, or the first ping after all were answered.
        self._silent_since = now

    @property
    def is_open(self) -> bool:
        """Whether another frame may be sent."""
        return self._sent - self._read < WINDOW

    @property
    def needs_ping(self) -> bool:
        """Whether so much was sent since the last ping that the next one is due."""
        return self._sent - self._pinged >= PING_BYTES

    def note_sent(self, size: int) -> None:
        self._sent += size

    def ping(self, now: float) -> str:
        """The id of a new ping, to be sent behind all that was noted. Who has not read it cannot guess it: a client
        that answered without reading would fill the memory of a server that takes any amount of data."""
        if not self._pings:
            self._silent_since = now
        id = secrets.token_hex(8)
        self._pinged, self._pinged_at = self._sent, now
        self._pings.append((id, self._sent))
        return id

    def pong(self, id: object, now: float) -> None:
        """The client has read up to this ping; an id that nobody waits for says nothing."""
        if not any(id == waiting for waiting, _ in self._pings):
            return
        answered = None
        while answered != id:
            answered, self._read = self._pings.pop(0)
        self._silent_since = now

    def seconds_to_ping(self, now: float) -> float | None:
        """Until a quiet socket is to be pinged; None while a ping waits for its pong."""
        return None if self._pings else self._pinged_at + PING_INTERVAL - now

    def seconds_to_deadline(self, now: float, *, data_waits: bool) -> float:
        """What is left to a client that has not answered a ping."""
        return self._silent_since + (STALL_DEADLINE if data_waits else PONG_DEADLINE) - now

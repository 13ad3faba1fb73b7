"""Words of the protocol that several parts need."""

import json
from typing import Any

# One JSON object on the WebSocket.
Frame = dict[str, Any]

# What the server answers a frame with an `id` with.
ANSWERS = frozenset({"ack", "error", "subscribed", "unsubscribed"})
# What stands in a room's log; the `cursor` of these is where a resume goes on.
LOGGED = frozenset({"message", "notice", "edited", "deleted"})
# What is told of the moment and may be missed.
EPHEMERAL = frozenset({"joined", "left", "presence", "typing"})
# Errors that may pass: the same frame can be sent again a little later.
PASSING = frozenset({"rate_limited", "unavailable", "unknown"})


def parse_frames(text: str | bytes) -> list[Frame]:
    """What the server sent: one object, or an array of objects in their order, without what is no
    frame. Raises `ValueError` for what is no JSON."""
    received = json.loads(text)
    frames = received if isinstance(received, list) else [received]
    return [frame for frame in frames if isinstance(frame, dict) and isinstance(frame.get("type"), str)]

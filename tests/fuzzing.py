"""How much and from which seed the fuzzed tests try, and the frames they try: FUZZ_SEED takes another, FUZZ_EXAMPLES
more of each."""

import json
import os
from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

SEED = int(os.environ.get("FUZZ_SEED", "7"))
# What takes long and has no deadline of its own is a busy machine, no fault.
PROFILE = settings(
    deadline=None,
    database=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.filter_too_much,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
)
# Fields and values that some frame knows, or that stand for more than they seem.
FIELDS = ["type", "id", "room", "rooms", "after", "text", "reply_to", "retry", "message", "cursor", "__proto__", ""]
TYPES = ["subscribe", "unsubscribe", "send", "edit", "delete", "typing", "read", "pong", "welcome", "websocket.close"]
STRANGE = [
    "",
    "\0",
    "\ud800",
    "\u202e",
    "x" * 70,
    "0-0--1",
    "99999-99999-9",
    "' OR 1=1 --",
    "${7*7}",
    "{{7*7}}",
    "../..",
]
NUMBERS = [0, -1, 1.5, 2**31, 2**53, 2**63, 2**64, 10**30, 1e308]


def examples(usual: int) -> settings:
    """The settings of a fuzzed test that makes so many examples unless FUZZ_EXAMPLES multiplies them."""
    return settings(PROFILE, max_examples=usual * int(os.environ.get("FUZZ_EXAMPLES", "1")))


def values() -> st.SearchStrategy[Any]:
    """Anything that JSON can say."""
    leaves = st.none() | st.booleans() | st.sampled_from(NUMBERS) | st.sampled_from(STRANGE) | st.integers() | st.text()
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    )


def frames(rooms: Sequence[int], ids: Sequence[str], cursors: Sequence[str] = ("0-0-0",)) -> st.SearchStrategy[Any]:
    """Client frames that make sense, and such with a field changed, added or left out; or anything at all."""
    room, id = st.sampled_from(rooms), st.sampled_from(ids)
    known = st.fixed_dictionaries(
        {"type": st.sampled_from(TYPES), "id": id | st.uuids().map(str), "room": room},
        optional={
            "after": st.sampled_from(cursors),
            "text": st.text(min_size=1, max_size=50),
            "message": id,
            "reply_to": id,
            "retry": st.booleans(),
            "rooms": st.booleans(),
        },
    )
    return known | st.builds(_changed, known, st.sampled_from(FIELDS), values()) | st.builds(_without, known) | values()


def _changed(frame: dict[str, Any], field: str, value: Any) -> dict[str, Any]:
    return {**frame, field: value}


def _without(frame: dict[str, Any]) -> dict[str, Any]:
    return dict(list(frame.items())[1:])


def texts(frames: st.SearchStrategy[Any]) -> st.SearchStrategy[str]:
    """Frames as they are written, some of them cut off or spoilt."""
    written = frames.map(json.dumps)
    return written | st.builds(lambda text, at: text[:at], written, st.integers(0, 60)) | st.text(max_size=80)

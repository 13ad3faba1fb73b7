"""From the bytes of a WebSocket frame to what they say, each distinct frame read once."""

from collections.abc import Mapping
from typing import Any

import orjson

from loadtest.roomlog import Batch, RoomLog

# One JSON object of the protocol.
Frame = dict[str, Any]
# What a WebSocket frame holds: messages of a room together, other objects one by one, in order.
Item = Batch | Frame

MEMO_BYTES = 64 * 1024 * 1024  # of frames that are remembered
# Objects that one socket alone is sent, which it would be no use to remember.
PRIVATE = frozenset({"ack", "error", "ping", "subscribed", "unsubscribed", "welcome", "unread", "removed", "reconnect"})


class FrameReader:
    """`logs`: the chat's number of a room → its log in this worker."""

    def __init__(self, logs: Mapping[int, RoomLog], *, memo_bytes: int = MEMO_BYTES) -> None:
        self._logs = logs
        self._memo: dict[bytes, list[Item]] = {}
        self._space = memo_bytes

    def read(self, payload: bytes) -> list[Item]:
        """Raises `ValueError` for what the protocol does not know."""
        items = self._memo.get(payload)
        return self._parse(payload) if items is None else items

    def close(self) -> None:
        """Note in the logs what is still remembered."""
        for items in self._memo.values():
            _fold(items)
        self._memo.clear()

    def _parse(self, payload: bytes) -> list[Item]:
        items = self._group(_objects(payload))
        if any(isinstance(item, Batch) or item["type"] not in PRIVATE for item in items):
            self._space -= len(payload)
            while self._space < 0 and self._memo:
                self._forget(next(iter(self._memo)))
            self._memo[payload] = items
        return items

    def _forget(self, payload: bytes) -> None:
        _fold(self._memo.pop(payload))
        self._space += len(payload)

    def _group(self, frames: list[Frame]) -> list[Item]:
        items: list[Item] = []
        run: list[Frame] = []
        for frame in frames:
            if run and (frame["type"] != "message" or frame["room"] != run[0]["room"]):
                items.append(self._batch(run))
                run = []
            if frame["type"] == "message" and frame["room"] in self._logs:
                run.append(frame)
            else:
                items.append(frame)
        if run:
            items.append(self._batch(run))
        return items

    def _batch(self, frames: list[Frame]) -> Batch:
        # A message that was edited or deleted since shows no text of the plan.
        log = self._logs[frames[0]["room"]]
        return Batch(
            log, [log.look(f["sender"], str(f.get("text")), f["cursor"]) for f in frames], frames[-1]["cursor"]
        )


def _objects(payload: bytes) -> list[Frame]:
    said = orjson.loads(payload)
    frames = said if isinstance(said, list) else [said]
    for frame in frames:
        if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
            raise ValueError("A server frame is an object with a type, or an array of such objects.")
        if frame["type"] == "message" and not {"room", "cursor", "sender"} <= frame.keys():
            raise ValueError("A message has a room, a cursor and a sender.")
    return frames


def _fold(items: list[Item]) -> None:
    for item in items:
        if isinstance(item, Batch):
            item.log.fold(item)

"""Random client frames at the parser and in the socket's loop."""

import asyncio
from contextlib import suppress
from typing import Any
from unittest import TestCase

from hypothesis import given, seed
from hypothesis import strategies as st

from accounts.errors import ChatError, ErrorCode
from kafka_layer.subscription import Subscription
from messaging import protocol
from messaging.cursor import Cursor
from messaging.protocol import CloseCode, Frame
from messaging.socket import Socket
from tests.fuzzing import SEED, examples, frames, texts, values

MESSAGE = "0b4e7a0e-5f3e-4f0e-9a41-0d6f6a7d9a11"
FRAMES = frames([1, 2], [MESSAGE, "a", "x" * 64])
REFUSED = {ErrorCode.INVALID, ErrorCode.TOO_LARGE}


def check(frame: Frame) -> None:
    """All that is read of a frame before anything is done. Raises `ChatError`."""
    room = protocol.require_room(frame)
    if frame.get("after") is not None:
        Cursor.parse(frame["after"], partition=0)
    match frame.get("type"):
        case "send":
            sent = protocol.parse_send(frame, room)
            assert sent.text.encode() and "\0" not in sent.text and sent.room == room
        case "edit":
            assert protocol.parse_edit(frame).text
        case "delete":
            assert protocol.parse_delete(frame).text is None
        case _:
            protocol.require_id(frame)


@seed(SEED)
@examples(500)
@given(text=texts(FRAMES) | texts(values()))
def test_a_frame_is_understood_or_refused_with_a_code(text: str):
    try:
        check(protocol.parse_frame(text))
    except ChatError as problem:
        assert problem.code in REFUSED
        # What is answered can be written.
        protocol.render(protocol.error(None, problem))


@seed(SEED)
@examples(100)
@given(coming=st.lists(texts(FRAMES) | st.binary(max_size=20), max_size=80))
def test_a_socket_answers_each_bad_frame_or_closes_with_a_documented_code(coming: list[str | bytes]):
    with TestCase().assertNoLogs("messaging", "ERROR"):
        sent = asyncio.run(converse(coming))
    closes = [event["code"] for event in sent if event["type"] == "websocket.close"]
    assert closes in ([], [CloseCode.TOO_MANY])
    # Each is answered, until the fiftieth bad one ends the socket.
    assert closes or len(answers(sent)) == len([frame for frame in coming if not is_pong(frame)])


async def converse(coming: list[str | bytes]) -> list[Any]:
    """What a socket sends to a client that sends this and waits for the answers; what is understood is answered with an
    error too."""
    sent: list[Any] = []
    waiting = [
        {"type": "websocket.receive", "bytes" if isinstance(frame, bytes) else "text": frame} for frame in coming
    ]
    expected = len([frame for frame in coming if not is_pong(frame)])
    answered = asyncio.Event()

    async def receive() -> Any:
        if waiting:
            return waiting.pop(0)
        if expected:
            with suppress(TimeoutError):
                await asyncio.wait_for(answered.wait(), 1)
        return {"type": "websocket.disconnect", "code": 1000}

    async def send(event: Any) -> None:
        sent.append(event)
        if len(answers(sent)) >= expected:
            answered.set()

    async def handle(frame: Frame) -> None:
        check(frame)
        raise ChatError(ErrorCode.NOT_FOUND, "There is no such room.")

    async def nothing() -> Any:
        raise AssertionError("Nothing is joined here.")

    await Socket(receive, send, Subscription(nothing), handle=handle, show=lambda _: None).serve()
    return sent


def answers(sent: list[Any]) -> list[Any]:
    return [event for event in sent if event.get("text", "").startswith('{"type":"error"')]


def is_pong(frame: str | bytes) -> bool:
    """Those are not answered."""
    try:
        return isinstance(frame, str) and protocol.parse_frame(frame).get("type") == "pong"
    except ChatError:
        return False

"""The socket's own loop, with a server and a client that do what a test says."""

import asyncio
import gc
import json
import weakref
from collections.abc import Sequence
from typing import Any

from kafka_layer.subscription import Subscription
from messaging.protocol import CloseCode, Frame, Text
from messaging.socket import MAX_WAITING_BYTES, MAX_WAITING_TEXT, Socket


async def no_layer() -> Any:
    raise AssertionError("Nothing is joined here.")


def receive_all(frames: Sequence[Frame]) -> Any:
    """The server's `receive`: these client frames at once, and then the client is gone."""
    events = [{"type": "websocket.receive", "text": json.dumps(frame)} for frame in frames]
    events.append({"type": "websocket.disconnect", "code": 1006})  # type: ignore[dict-item]
    coming = iter(events)

    async def receive() -> Any:
        return next(coming)

    return receive


async def test_a_client_that_does_not_read_its_answers_gets_no_more_of_them():
    """Frames wait instead, and of those a socket holds a bounded number."""
    handled: list[Frame] = []

    async def send(event: Any) -> None:
        """Takes everything, as daphne does."""

    async def handle(frame: Frame) -> None:
        handled.append(frame)
        socket.post_texts([Text("x" * size, size)])

    size = MAX_WAITING_BYTES // 3
    receive = receive_all([{"type": "subscribe"}] * 100)
    socket = Socket(receive, send, Subscription(no_layer), handle=handle, show=lambda _: None)
    await socket.serve()
    assert len(handled) <= 10


async def test_a_client_whose_frames_need_much_memory_while_they_wait_is_closed():
    """A text of brackets becomes lists of twenty times its size, so it waits as a text, and not too much of it."""
    texts = [json.dumps({"type": "typing", "x": [[]] * 15_000})] * 200
    read, closed = 0, asyncio.Event()
    codes: list[int] = []

    async def receive() -> Any:
        nonlocal read
        if read < len(texts):
            read += 1
            await asyncio.sleep(0)
            return {"type": "websocket.receive", "text": texts[read - 1]}
        await closed.wait()
        return {"type": "websocket.disconnect", "code": 1006}

    async def send(event: Any) -> None:
        codes.append(event["code"])
        closed.set()

    async def handle(frame: Frame) -> None:
        await closed.wait()

    socket = Socket(receive, send, Subscription(no_layer), handle=handle, show=lambda _: None)
    await socket.serve()
    assert codes == [CloseCode.TOO_MANY]
    assert sum(len(frame) for frame in socket._waiting if isinstance(frame, str)) < 2 * MAX_WAITING_TEXT


async def take(event: Any) -> None:
    """A server's `send` that takes everything."""


class Owner:
    """As a visit does, it has a socket that calls it."""

    def __init__(self) -> None:
        subscription = Subscription(no_layer)
        self.socket = Socket(receive_all([]), take, subscription, handle=self.handle, show=self.show)

    async def handle(self, frame: Frame) -> None:
        """Answers nothing."""

    def show(self, item: Any) -> None:
        """Shows nothing."""


async def test_an_ended_socket_and_its_owner_need_no_garbage_collector():
    """Which comes seldom, and after a storm thousands would wait for it."""
    owner = Owner()
    gone = weakref.ref(owner)
    gc.disable()
    try:
        await owner.socket.serve()
        del owner
        await asyncio.sleep(0)
        assert gone() is None
    finally:
        gc.enable()

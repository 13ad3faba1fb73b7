"""The load generator's WebSocket, fed byte by byte."""

import asyncio
from typing import Any

import pytest

from loadtest.wire import LOST, WebSocket, connect

HEAD = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: yes\r\nUpgrade: websocket\r\n\r\n"


class Wire(asyncio.Transport):
    """What is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close


class Heard:
    def __init__(self) -> None:
        self.texts: list[bytes] = []
        self.ends: list[int] = []


def frame(payload: bytes, first: int = 0x81) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 1 << 16:
        return bytes((first, 126)) + size.to_bytes(2, "big") + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload


def open_socket() -> tuple[WebSocket, Wire, Heard]:
    socket, wire, heard = WebSocket(b"GET", b"yes"), Wire(), Heard()
    socket.connection_made(wire)
    socket.data_received(HEAD)
    socket.listen(heard.texts.append, heard.ends.append)
    return socket, wire, heard


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
async def test_frames_of_all_sizes_are_read_however_they_arrive(step: int):
    texts = [b"", b"a", b"b" * 125, b"c" * 126, b"d" * 500, b"e" * 65535, b"f" * 65536]
    socket, _, heard = open_socket()
    data = b"".join(map(frame, texts))
    for begin in range(0, len(data), step):
        socket.data_received(data[begin : begin + step])
    assert heard.texts == texts


async def test_what_comes_with_the_handshake_waits_for_who_listens():
    socket, heard = WebSocket(b"GET", b"yes"), Heard()
    socket.connection_made(Wire())
    socket.data_received(HEAD[:20])
    socket.data_received(HEAD[20:] + frame(b"welcome"))
    await socket.opened()
    socket.listen(heard.texts.append, heard.ends.append)
    assert heard.texts == [b"welcome"]


async def test_a_fragmented_message_is_put_together():
    socket, _, heard = open_socket()
    socket.data_received(frame(b"one ", 0x01) + frame(b"", 0x89) + frame(b"two ", 0x00) + frame(b"three", 0x80))
    assert heard.texts == [b"one two three"]


async def test_a_ping_is_answered_and_a_close_is_returned():
    socket, wire, heard = open_socket()
    socket.data_received(frame(b"hi", 0x89) + frame((4008).to_bytes(2, "big") + b"too slow", 0x88))
    assert wire.written[1:] == [b"\x8a\x82\x00\x00\x00\x00hi", b"\x88\x82\x00\x00\x00\x00\x0f\xa8"]
    assert wire.closed
    socket.connection_lost(None)
    assert heard.ends == [4008]


async def test_a_lost_connection_has_no_code():
    socket, _, heard = open_socket()
    socket.connection_lost(ConnectionResetError())
    assert heard.ends == [LOST]


@pytest.mark.parametrize("size", [1, 126, 70_000])
async def test_what_is_sent_is_masked(size: int):
    socket, wire, _ = open_socket()
    socket.send(b"x" * size)
    head = {1: b"\x81\x81", 126: b"\x81\xfe\x00\x7e", 70_000: b"\x81\xff\x00\x00\x00\x00\x00\x01\x11\x70"}[size]
    assert wire.written[1] == head + bytes(4) + b"x" * size


@pytest.mark.parametrize("answer", [b"HTTP/1.1 403 Forbidden\r\n\r\n", HEAD.replace(b"yes", b"no"), b"x" * 20_000])
async def test_a_refused_handshake_is_an_error(answer: bytes):
    socket, wire = WebSocket(b"GET", b"yes"), Wire()
    socket.connection_made(wire)
    socket.data_received(answer)
    with pytest.raises(ConnectionRefusedError):
        await socket.opened()
    assert wire.closed


async def test_a_base_url_is_http():
    with pytest.raises(ValueError, match="starts with http"):
        await connect("ws://127.0.0.1", "token")

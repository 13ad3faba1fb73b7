"""A WebSocket at the level of bytes, for what no client library would send."""

import base64
import os
import socket
import struct
from collections.abc import Mapping
from typing import Self

DEADLINE = 20.0  # seconds
TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 0x1, 0x2, 0x0, 0x8, 0x9, 0xA


class RawSocket:
    """A TCP connection to a web process; `open` makes a WebSocket of it."""

    def __init__(self, port: int) -> None:
        self._tcp = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
        self._got = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._tcp.close()

    def write(self, data: bytes) -> None:
        self._tcp.sendall(data)

    def request(self, headers: Mapping[str, str], *, path: str = "/ws") -> bytes:
        """Ask for a WebSocket and return the head of the answer; empty when the server just hung up."""
        usual = {
            "Host": "127.0.0.1",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            "Sec-WebSocket-Version": "13",
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in (usual | dict(headers)).items())
        self.write(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
        while b"\r\n\r\n" not in self._got:
            if not self._receive():
                break
        head, _, self._got = self._got.partition(b"\r\n\r\n")
        return head

    def open(self, token: str, **headers: str) -> Self:
        head = self.request({"Authorization": f"Bearer {token}", **headers})
        assert head.startswith(b"HTTP/1.1 101 "), head
        assert b"extensions" not in head.lower(), "nothing is compressed"
        return self

    def frame(self, opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> None:
        self.write(encode(opcode, payload, fin=fin, rsv=rsv))

    def close_code(self) -> int | None:
        """Read on until the connection has ended, and return the code of the server's close; None: there was none."""
        code = None
        while True:
            while (frame := self._take()) is not None:
                opcode, payload = frame
                if opcode == CLOSE:
                    code = struct.unpack("!H", payload[:2])[0]
            if not self._receive():
                return code

    def read_frame(self) -> tuple[int, bytes]:
        while (frame := self._take()) is None:
            assert self._receive(), "the connection has ended"
        return frame

    def _receive(self) -> bool:
        try:
            data = self._tcp.recv(65_536)
        except ConnectionError:
            return False
        self._got += data
        return bool(data)

    def _take(self) -> tuple[int, bytes] | None:
        if len(self._got) < 2:
            return None
        size, start = self._got[1] & 0x7F, 2
        if size >= 126:
            start = 4 if size == 126 else 10
            if len(self._got) < start:
                return None
            size = int.from_bytes(self._got[2:start])
        if len(self._got) < start + size:
            return None
        opcode, payload = self._got[0] & 0x0F, self._got[start : start + size]
        self._got = self._got[start + size :]
        return opcode, payload


def encode(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
    """A client's frame; its mask is zero, so that the payload is as it is."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else (
        b"\xfe" + struct.pack("!H", size) if size < 65_536 else b"\xff" + struct.pack("!Q", size)
    )  # fmt: skip
    return bytes([(0x80 if fin else 0) | rsv << 4 | opcode]) + length + bytes(4) + payload

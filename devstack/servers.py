"""The ASGI servers that the chat is tested on, and how each is started for it."""

import sys
from collections.abc import Callable

APPLICATION = "chatproject.asgi:application"
MAX_FRAME = 1024 * 1024  # bytes: what daphne takes; uvicorn would take 16 times as much


def _daphne(port: int) -> list[str]:
    # Of a thousand people who come back at once, Twisted's queue of 50 would leave the last to TCP's repeats: seconds.
    return ["daphne", "-v", "0", "-e", f"tcp:port={port}:interface=127.0.0.1:backlog=1024"]


def _uvicorn(port: int) -> list[str]:
    # Addresses are the chat's own affair (TRUSTED_PROXIES). Compressing for each socket what all are shown is slow.
    return [
        "uvicorn", "--host", "127.0.0.1", "--port", str(port), "--loop", "uvloop", "--ws", "websockets-sansio",
        "--ws-per-message-deflate", "false", "--ws-max-size", str(MAX_FRAME), "--lifespan", "off",
        "--no-proxy-headers", "--no-access-log", "--log-level", "warning",
    ]  # fmt: skip


def _granian(port: int) -> list[str]:
    # It has no log of requests unless it is asked for one.
    return [
        "granian", "--interface", "asginl", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--loop", "uvloop", "--log-level", "warning",
    ]  # fmt: skip


SERVERS: dict[str, Callable[[int], list[str]]] = {"daphne": _daphne, "uvicorn": _uvicorn, "granian": _granian}


def serve_command(server: str, port: int) -> list[str]:
    """The command line of one web process on the loopback address; `server` is a key of `SERVERS`."""
    return [sys.executable, "-m", *SERVERS[server](port), APPLICATION]

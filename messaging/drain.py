"""Draining a web process before its server stops it.

Daphne drops its sockets at once on SIGTERM, and uvicorn closes all of them together; neither asks the application
before. So a drain is put in front of the signal handlers that the server has installed. Those are known only when the
event loop runs: daphne's (Twisted's) are installed after the application was imported.
"""

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from types import FrameType

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def drain_on_signals(drain: Callable[[], Awaitable[None]]) -> None:
    """On SIGTERM or SIGINT await `drain()` in the running loop, then let the signal do what it did until now. A second
    one does so at once.

    Does nothing outside the main thread, where nobody may install a handler, and where the handlers are not Python's
    (granian): such a server is drained by a request on its internal port.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    servers = {number: signal.getsignal(number) for number in SIGNALS}
    if None in servers.values():
        return
    loop = asyncio.get_running_loop()
    tasks: list[asyncio.Task[None]] = []  # a loop holds its tasks weakly

    def on_signal(number: int, frame: FrameType | None) -> None:
        for each, handler in servers.items():
            signal.signal(each, handler)
        if loop.is_closed():
            os.kill(os.getpid(), number)
        else:
            loop.call_soon_threadsafe(lambda: tasks.append(loop.create_task(_drain_then_pass_on(drain, number))))

    for number in SIGNALS:
        signal.signal(number, on_signal)


async def _drain_then_pass_on(drain: Callable[[], Awaitable[None]], number: int) -> None:
    try:
        await drain()
    except Exception:
        logger.exception("The drain has failed; the server stops all the same.")
    os.kill(os.getpid(), number)

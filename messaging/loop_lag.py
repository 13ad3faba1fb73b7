"""How late the event loop comes to what is due: the first sign of a web process that has too much to do."""

import asyncio

from prometheus_client import Gauge

BEAT = 0.05  # seconds between two looks
BEATS = 20  # looks of which the worst is told

loop_lag = Gauge(
    "chat_loop_lag_seconds", "The worst delay of the event loop that serves the sockets in the last second."
)


async def watch_loop() -> None:
    """For ever, on the loop that is watched."""
    loop = asyncio.get_running_loop()
    while True:
        worst = 0.0
        for _ in range(BEATS):
            due = loop.time() + BEAT
            await asyncio.sleep(BEAT)
            worst = max(worst, loop.time() - due)
        loop_lag.set(worst)

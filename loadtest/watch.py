"""How busy a worker is. A generator that cannot keep up measures itself, and must say so."""

import asyncio
from time import monotonic, process_time

from loadtest.latencies import Latencies

BEAT = 0.02  # seconds between two looks at the loop


class Watch:
    """`run` it as a task of the loop that is watched."""

    def __init__(self) -> None:
        # How late the loop came to the beats, and would have come to those that it missed meanwhile.
        self.lags = Latencies()
        # The worst since the last `take`, in seconds.
        self._worst = 0.0
        self._taken = (monotonic(), process_time())

    async def run(self) -> None:
        while True:
            due = monotonic() + BEAT
            await asyncio.sleep(BEAT)
            lag = max(0.0, monotonic() - due)
            self.lags.record_stall(lag, BEAT)
            self._worst = max(self._worst, lag)

    def take(self) -> tuple[float, float]:
        """Since the last call: the share of a core that this process took, and the worst lag in seconds."""
        before, now = self._taken, (monotonic(), process_time())
        worst = self._worst
        self._taken, self._worst = now, 0.0
        return (now[1] - before[1]) / max(1e-6, now[0] - before[0]), worst

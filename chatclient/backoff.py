"""When to come back after a lost connection."""

import random
from collections.abc import Callable

FIRST = 1.0  # seconds within which the first try falls
CAP = 30.0  # seconds between two tries, at most
STABLE = 60.0  # seconds of a connection after which the backoff starts anew


class Backoff:
    """Exponential, with full jitter drawn after the cap, so that many clients do not come back together. All times are
    seconds of one monotonic clock, handed in; `draw` gives numbers from 0 to 1."""

    def __init__(self, *, draw: Callable[[], float] = random.random) -> None:
        self._draw = draw
        # Tries since the last stable connection.
        self._tries = 0
        # When the present connection was welcomed; None without one.
        self._welcomed: float | None = None
        # The server asked not to come back earlier; None: it did not.
        self._not_before: float | None = None

    def welcome(self, now: float) -> None:
        """A connection is there."""
        self._welcomed = now

    def ask(self, after: float, now: float) -> None:
        """The server, which is about to stop, asks to come back after so many seconds."""
        self._not_before = now + after

    def lose(self, now: float) -> float:
        """A connection was lost or could not be had; return how long to wait before the next try."""
        if self._welcomed is not None and now - self._welcomed >= STABLE:
            self._tries = 0
        asked = 0.0 if self._not_before is None else self._not_before - now
        self._welcomed = self._not_before = None
        jittered = self._draw() * min(CAP, FIRST * 2**self._tries)
        # Bounded, since a float has no place for 2 to the power of a night's tries.
        self._tries = min(self._tries + 1, 16)
        # The server has spread what it asked for; jitter on top would only add to it.
        return asked if asked > 0 else jittered

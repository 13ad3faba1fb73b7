"""Numbers that an operator reads."""

import logging
import time
from collections import Counter
from threading import Lock


class Counters:
    """Counts from any thread; what is lost is also logged, at most once in `log_interval` seconds for each name."""

    def __init__(self, logger: logging.Logger, *, log_interval: float = 10.0) -> None:
        self._logger = logger
        self._log_interval = log_interval
        self._lock = Lock()
        self._counts: Counter[str] = Counter()
        self._logged_at: dict[str, float] = {}  # name -> monotonic seconds

    def add(self, name: str, number: int = 1) -> None:
        with self._lock:
            self._counts[name] += number

    def add_loss(self, name: str, detail: object, number: int = 1) -> None:
        """Count something that a person should hear of."""
        now = time.monotonic()
        with self._lock:
            self._counts[name] += number
            total = self._counts[name]
            if now - self._logged_at.get(name, -self._log_interval) < self._log_interval:
                return
            self._logged_at[name] = now
        self._logger.warning("%s (%d so far): %s", name, total, detail)

    def snapshot(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counts)

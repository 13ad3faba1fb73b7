"""What is logged when a service is away, at whose every absence libraries write the same line many times a second."""

import logging
from threading import Lock
from time import monotonic

INTERVAL = 10.0  # seconds


class Seldom(logging.Filter):
    """Lets one record of each message format through in `INTERVAL` seconds; the next one says how many were left out.

    Of records about answers, which have a `status_code`, only those about 503 are held back: any other is a mistake of
    ours.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = Lock()
        # Format → when a record last passed, in monotonic seconds, and how many were left out since. Formats are
        # constants of the libraries, so there are few.
        self._passed: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if hasattr(record, "status_code") and record.status_code != 503:
            return True
        kind, now = str(record.msg), monotonic()
        with self._lock:
            passed, left_out = self._passed.get(kind, (-INTERVAL, 0))
            if now - passed < INTERVAL:
                self._passed[kind] = passed, left_out + 1
                return False
            self._passed[kind] = now, 0
        if left_out:
            record.msg = f"{kind} (and {left_out} more like this)"
        return True

"""What a worker tells each second."""

from typing import NamedTuple


class Progress(NamedTuple):
    """Counts are since the beginning; `ticks`, `cpu` and `lag` since the last report."""

    worker: int
    # Whole seconds of the plan.
    second: int
    joined: int
    sent: int
    acknowledged: int
    received: int
    frames: int
    errors: int
    # Latency of a receipt in ticks → how often; of messages that were to be sent while all talk.
    ticks: dict[int, int]
    # Share of a core, and the longest that the loop made others wait, in seconds.
    cpu: float
    lag: float

"""What the users of one worker share."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic

from loadtest.deliveries import Deliveries
from loadtest.frames import FrameReader
from loadtest.latencies import TICK
from loadtest.outcome import Outcome
from loadtest.plan import Plan
from loadtest.roomlog import RoomLog
from loadtest.schedule import Schedule


@dataclass
class World:
    """`zero` is the plan's on the clock of `time.monotonic`, which all processes of a machine share; `logs` are by the
    plan's numbers of the rooms."""

    plan: Plan
    urls: Sequence[str]
    zero: float
    logs: dict[int, RoomLog]
    reader: FrameReader
    schedule: Schedule
    outcome: Outcome
    deliveries: Deliveries = field(default_factory=Deliveries)
    # Plan's time of the newest receipt, of a message or a created room.
    heard: float = 0.0

    def now(self) -> float:
        return monotonic() - self.zero

    def tick(self) -> int:
        return int((monotonic() - self.zero) / TICK)

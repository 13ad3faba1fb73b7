"""What was counted: by one worker, or by all of them merged."""

from collections import Counter
from dataclasses import dataclass, field, fields

from loadtest.judgement import disordered, missing
from loadtest.latencies import Latencies
from loadtest.plan import Key, Plan
from loadtest.roomlog import RoomRecord


@dataclass
class Outcome:
    """Counts of a run. `rooms` and `unacknowledged` name the messages, so that merging can judge them."""

    joined: int = 0
    sent: int = 0
    acknowledged: int = 0
    received: int = 0
    # WebSocket frames that held messages.
    frames: int = 0
    # Violations; `lost` is known after the judgement.
    lost: int = 0
    twice: int = 0
    out_of_order: int = 0
    foreign: int = 0
    # Subscriptions for which the server says that something cannot be had any more.
    gaps: int = 0
    # Created rooms that followers of the list were not shown; known after the judgement.
    rooms_lost: int = 0
    # Why something failed for good → how often.
    errors: Counter[str] = field(default_factory=Counter)
    unacknowledged: set[Key] = field(default_factory=set)
    # Room of the plan → what is known of it.
    rooms: dict[int, RoomRecord] = field(default_factory=dict)
    # Rooms that were created during the run; how many were shown each, of those who followed the list before it was to
    # be created; and when each follower began to, in seconds of the plan.
    created: set[int] = field(default_factory=set)
    shown: Counter[int] = field(default_factory=Counter)
    followed: list[float] = field(default_factory=list)
    # Frames that are not checked, by type: joined, left, presence, unread …
    others: Counter[str] = field(default_factory=Counter)
    # What was mended and violates nothing: lost connections, and sends refused for reasons that passed; close codes of
    # the server.
    reconnects: int = 0
    # Sockets that were cut in the storm.
    cut: int = 0
    refusals: int = 0
    closes: Counter[str] = field(default_factory=Counter)
    # Sends that the generator itself made late, and the latest of them in seconds.
    late: int = 0
    latest: float = 0.0
    # While all talk, of the worst worker: the 99th percentile of how long its event loop made others wait, in seconds,
    # and the share of a core that it took.
    lag: float = 0.0
    busiest: float = 0.0
    # How long a message waited at most to be stored while all talked, in seconds; None where the server does not tell.
    storage_lag: float | None = None
    # From the intended send time to a receipt, and to the acknowledgement, while all talk; from the beginning of
    # connecting to the answer to `subscribe`; from the cut of a storm to the answer that the room is resumed; from the
    # intended creation of a room until a follower is shown it.
    delivery: Latencies = field(default_factory=Latencies)
    acknowledgement: Latencies = field(default_factory=Latencies)
    joining: Latencies = field(default_factory=Latencies)
    returning: Latencies = field(default_factory=Latencies)
    creation: Latencies = field(default_factory=Latencies)

    def add(self, other: "Outcome") -> None:
        """Take in what another worker has counted; messages that the two saw at other places are out of order."""
        self.latest = max(self.latest, other.latest)
        self.lag = max(self.lag, other.lag)
        self.busiest = max(self.busiest, other.busiest)
        self.unacknowledged |= other.unacknowledged
        self.created |= other.created
        self.followed += other.followed
        for room, record in other.rooms.items():
            self.out_of_order += self.rooms.setdefault(room, RoomRecord()).add(record)
        for name in (f.name for f in fields(self)):
            mine, others = getattr(self, name), getattr(other, name)
            if isinstance(mine, Latencies):
                mine.add(others)
            elif isinstance(mine, Counter) or type(mine) is int:
                setattr(self, name, mine + others)

    @property
    def followers(self) -> int:
        return len(self.followed)

    def unshown(self, plan: Plan, number: int) -> int:
        """Those who were not shown a created room, of all who followed the list before it was to be created."""
        return sum(at < plan.created_at(number) for at in self.followed) - self.shown[number]

    def judge(self, plan: Plan) -> None:
        """Find what is missing or stands in a wrong order; call it once, when everything has been added. A receipt is
        lost of a message that the server acknowledged."""
        for record in self.rooms.values():
            found = missing(plan, record)
            self.lost += sum(count for key, count in found.items() if key not in self.unacknowledged)
            self.out_of_order += disordered(record)
        self.rooms_lost = sum(self.unshown(plan, number) for number in self.created)

"""What was counted: by one worker, or by all of them merged."""

from collections import Counter
from dataclasses import dataclass, field

from loadtest.latencies import Latencies
from loadtest.plan import Key, Place


@dataclass
class Outcome:
    """Counts of a run. `missing`, `unacknowledged` and `orders` name the messages, so that merging can judge them."""

    joined: int = 0
    sent: int = 0
    acknowledged: int = 0
    received: int = 0
    # Violations
    twice: int = 0
    out_of_order: int = 0
    foreign: int = 0
    # Events `gap`: what the server says cannot be had any more.
    gaps: int = 0
    # Why something failed for good → how often.
    errors: Counter[str] = field(default_factory=Counter)
    # Messages that receivers wait for in vain → how many receivers.
    missing: Counter[Key] = field(default_factory=Counter)
    unacknowledged: set[Key] = field(default_factory=set)
    # Room of the plan → where its messages were seen.
    orders: dict[int, dict[Key, Place]] = field(default_factory=dict)
    # What was mended and violates nothing: lost connections, and sends refused for reasons that passed.
    reconnects: int = 0
    refusals: int = 0
    # Sends that the generator itself made late, and the latest of them in seconds.
    late: int = 0
    latest: float = 0.0
    # From the intended send time to a receipt, and to the acknowledgement, while all talk; from the beginning of
    # connecting to the answer to `subscribe`.
    delivery: Latencies = field(default_factory=Latencies)
    acknowledgement: Latencies = field(default_factory=Latencies)
    joining: Latencies = field(default_factory=Latencies)

    @property
    def lost(self) -> int:
        """Receipts that did not come of messages that the server acknowledged."""
        return sum(count for key, count in self.missing.items() if key not in self.unacknowledged)

    def add(self, other: "Outcome") -> None:
        """Take in what another worker has counted; messages that the two saw at other places are out of order."""
        for name in ("joined", "sent", "acknowledged", "received", "twice", "out_of_order", "foreign", "gaps",
                     "reconnects", "refusals", "late"):  # fmt: skip
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.latest = max(self.latest, other.latest)
        self.errors += other.errors
        self.missing += other.missing
        self.unacknowledged |= other.unacknowledged
        for room, order in other.orders.items():
            known = self.orders.setdefault(room, {})
            self.out_of_order += sum(known.setdefault(key, place) != place for key, place in order.items())
        self.delivery.add(other.delivery)
        self.acknowledgement.add(other.acknowledgement)
        self.joining.add(other.joining)

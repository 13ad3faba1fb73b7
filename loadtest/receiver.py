"""What one user sees of its room, checked message by message: twice, out of order, foreign; what is lost is found from
its links at the end (`judgement`)."""

from collections import deque

from loadtest.cursor import Place
from loadtest.outcome import Outcome
from loadtest.plan import Key
from loadtest.roomlog import Batch, RoomLog

# Frames that are remembered to tell a repeat from a message that comes late; one that is older counts as late.
REMEMBERED = 1024


class Receiver:
    """Counts into `outcome`, and into the room's record. It begins at the cursor that the server subscribes it from."""

    __slots__ = ("_history", "_links", "_log", "_outcome", "_start", "cursor", "last", "received")

    def __init__(self, log: RoomLog, outcome: Outcome) -> None:
        self._log = log
        self._links = log.record.links
        self._outcome = outcome
        self._history: deque[Batch] = deque(maxlen=REMEMBERED)
        # Places of the start, and of the last message; everything behind the last one is still to come.
        self._start: Place | None = None
        self.last: Place = 0
        # Where a resume goes on; None before the first subscription.
        self.cursor: str | None = None
        self.received = 0

    @property
    def is_level(self) -> bool:
        """Whether it has come to the end of what is known of the room."""
        return self.last >= self._log.newest

    def start(self, place: Place, cursor: str, now: float) -> None:
        """Everything behind this place is to come; `now` is the plan's time of the answer that said so."""
        self._start = self.last = place
        self.cursor = cursor
        self._log.record.starts.append((place, now))

    def take(self, batch: Batch) -> bool:
        """Check a frame's messages; whether they came as they should."""
        if batch.clean and batch.first > self.last and batch.log is self._log:
            # All there is to do for nearly every frame.
            self._links[self.last, batch.first] += 1
            self.last = batch.last
            self.cursor = batch.cursor
            self.received += batch.size
            batch.taken += 1
            self._history.append(batch)
            return True
        self._examine(batch)
        return False

    def leave(self, *, for_good: bool, is_live: bool) -> None:
        """`for_good`: it was there to the end, so that everything must have come. Otherwise, while `is_live`, what
        others have known for a while."""
        self._outcome.received += self.received
        self.received = 0
        if for_good and self._start is not None:
            self._log.record.tails[self.last] += 1
        elif is_live and self._start is not None and self.last < self._log.settled:
            self._links[self.last, self._log.settled + 1] += 1

    def _has_seen(self, key: Key) -> bool:
        place = self._log.record.places.get(key, 0)
        # A clean frame holds it at its place or not at all, which spares a look at its messages.
        return any((not b.clean or b.first <= place <= b.last) and key in b.keys for b in self._history)

    def _examine(self, batch: Batch) -> None:
        """Something is wrong with this frame, at least for this receiver."""
        here = set()
        for key, place in zip(batch.keys, batch.places, strict=True):
            if key is None or batch.log is not self._log:
                self._outcome.foreign += 1
            elif key in here or self._has_seen(key):
                self._outcome.twice += 1
            else:
                here.add(key)
                self.received += 1
                known_place = self._log.record.places.setdefault(key, place)
                if place != known_place or place <= self.last:
                    self._outcome.out_of_order += 1
                    # The link that jumps over it counts it as lost, or will do so.
                    if self._start is not None and known_place > self._start:
                        self._log.record.late[key] += 1
                else:
                    self._links[self.last, place] += 1
                    self.last = place
        self._history.append(batch)
        if batch.last == self.last:
            self.cursor = batch.cursor

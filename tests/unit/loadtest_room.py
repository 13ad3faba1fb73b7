"""A room of a load test whose receivers are shown frames as they stand on the wire."""

from collections.abc import Iterable, Sequence

import orjson

from loadtest import Outcome, Plan
from loadtest.cursor import place_of
from loadtest.frames import FrameReader
from loadtest.plan import Key
from loadtest.receiver import Receiver
from loadtest.roomlog import Batch, RoomLog

PLAN = Plan(users=3, rooms=1, seconds=4, ramp=0, rate=1, length=40, run="r1")
NAMES = {0: "load1", 1: "load2", 2: "load3"}
EVERYTHING = sorted((Key(sender, n) for sender in NAMES for n in range(PLAN.count(sender))), key=PLAN.sent_at)
ROOM = 7


class Room:
    """Receivers are there from the beginning. `size`: messages of a frame; `memo_bytes` of the frame reader."""

    def __init__(self, receivers: int = 2, *, size: int = 1, memo_bytes: int = 1 << 20) -> None:
        self.size = size
        self.outcome = Outcome(joined=PLAN.users)
        self.log = RoomLog(PLAN, 0, NAMES)
        self.reader = FrameReader({ROOM: self.log}, memo_bytes=memo_bytes)
        self.receivers = [Receiver(self.log, self.outcome) for _ in range(receivers)]
        for receiver in self.receivers:
            self.join(receiver, at=0, time=0)

    def join(self, receiver: Receiver, *, at: int, time: float) -> None:
        """Subscribe from before the message that stands at this place of the log; `time` is the plan's."""
        cursor = f"1-0-{at - 1}"
        receiver.start(place_of(cursor), cursor, time)

    def show(self, receiver: int, keys: Iterable[Key], *, log: Sequence[Key] = EVERYTHING) -> None:
        """`log`: the order of the room."""
        messages = [message(PLAN.text(key), NAMES[key.sender], log.index(key)) for key in keys]
        for begin in range(0, len(messages), self.size):
            self.show_frame(receiver, messages[begin : begin + self.size])

    def show_frame(self, receiver: int, frame: object) -> None:
        for item in self.reader.read(orjson.dumps(frame)):
            assert isinstance(item, Batch)
            self.receivers[receiver].take(item)

    def found(self, *, acknowledged: Sequence[Key] = EVERYTHING) -> dict[str, int]:
        """The violations' counts that are not zero."""
        for receiver in self.receivers:
            receiver.leave(for_good=True, is_live=True)
        self.reader.close()
        for place, key in enumerate(acknowledged):
            self.log.record.places.setdefault(key, place_of(f"1-0-{place}"))
        self.outcome.rooms = {0: self.log.record}
        self.outcome.judge(PLAN)
        names = ("lost", "twice", "out_of_order", "foreign")
        return {name: count for name in names if (count := getattr(self.outcome, name))}


def message(text: str, sender: str, offset: int, *, room: int = ROOM) -> dict[str, object]:
    return {"type": "message", "room": room, "cursor": f"1-0-{offset}", "id": "-", "sender": sender, "text": text}

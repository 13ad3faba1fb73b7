"""What will be said by whom and when; everything that sends or checks works from this, so nothing has to be told."""

from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

# Seconds from the joining of the last user to the time from which latencies count, and from a user's joining to its
# first message.
SETTLE = 1.0
# The fractional part of the golden ratio: its multiples fill a second evenly, however many they are.
GOLDEN = 0.618033988749895
SHORTEST = 32  # characters that name a message in any plan

# The original's load: everybody in one room, ramp 5 s, a message a second of 50 characters for 20 s, then leave.
PROFILES: dict[str, dict[str, float]] = {
    "seed": {"users": 100, "rooms": 1, "ramp": 5, "seconds": 20, "rate": 1, "length": 50}
}

# Epoch, partition and offset of a message in the log.
Place = tuple[int, int, int]


class Key(NamedTuple):
    """One message of the plan: the number of its sender, and which of the sender's it is, both from 0 on."""

    sender: int
    n: int


class Seat(NamedTuple):
    """A user of the plan on the server: `name` is the account's id, `room` the chat's number of its room."""

    user: int
    name: str
    token: str
    room: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Times are seconds from the plan's zero. Users join one after the other during the ramp and talk from then on; all
    fall silent `seconds` after the ramp has settled. The schedule is fixed and waits for nobody (an open model)."""

    users: int
    rooms: int
    # Seconds in which all talk, and in which all join.
    seconds: float
    ramp: float
    # Messages a second and user.
    rate: float
    # Characters of a message.
    length: int
    # Tells this run's messages from those of others.
    run: str

    def __post_init__(self) -> None:
        if self.users < 1 or not 1 <= self.rooms <= self.users:
            raise ValueError("A plan needs users, and no more rooms than users.")
        if self.rate <= 0 or self.seconds <= 0 or self.ramp < 0:
            raise ValueError("Rate and seconds are above 0, and the ramp is not below 0.")
        if not SHORTEST <= self.length <= 4000:
            raise ValueError(f"A message has {SHORTEST} to 4000 characters.")

    @property
    def steady_from(self) -> float:
        return self.ramp + SETTLE

    @property
    def end(self) -> float:
        return self.steady_from + self.seconds

    def room_of(self, user: int) -> int:
        """Which of the plan's rooms, from 0 on."""
        return user % self.rooms

    def in_room(self, room: int) -> range:
        """The users of one of the plan's rooms."""
        return range(room, self.users, self.rooms)

    def joins_at(self, user: int) -> float:
        return self.ramp * user / self.users

    def sent_at(self, key: Key) -> float:
        first = self.joins_at(key.sender) + SETTLE + (key.sender * GOLDEN % 1) / self.rate
        return first + key.n / self.rate

    def first_after(self, sender: int, time: float) -> int:
        """The number of the sender's first message that is to be sent at a time or later."""
        return max(0, ceil((time - self.sent_at(Key(sender, 0))) * self.rate))

    def count(self, sender: int) -> int:
        """How many messages a user sends in all."""
        return self.first_after(sender, self.end)

    def text(self, key: Key) -> str:
        return f"{self.run} {key.sender} {key.n} ".ljust(self.length, "x")

    def read(self, text: str) -> Key | None:
        """Which message a text is, or None when it is none of this plan or was changed."""
        words = text.split(" ")
        if len(words) != 4 or not (words[1].isdecimal() and words[2].isdecimal()):
            return None
        key = Key(int(words[1]), int(words[2]))
        known = key.sender < self.users and key.n < self.count(key.sender)
        return key if known and text == self.text(key) else None

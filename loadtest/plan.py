"""What will be said by whom and when; everything that sends or checks works from this, so nothing has to be told."""

from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from math import ceil
from typing import NamedTuple

from loadtest.crowd import deal_rates, deal_rooms

# Seconds from the joining of the last user to the time from which latencies count, and from a user's joining to its
# first message.
SETTLE = 1.0
# The fractional parts of the golden ratio and of the square root of 2: their multiples fill 0 to 1 evenly, however many
# they are. The one spreads the sends over a second, the other the roles over the users.
GOLDEN = 0.618033988749895
SILVER = 0.414213562373095
SHORTEST = 32  # characters that name a message in any plan
# Messages a second that a very talkative user says at most, since a server bounds what a person may say.
FASTEST = 5.0


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


class Role(Enum):
    """Only talkers say something; all but those who never read are checked."""

    TALKER = "talker"
    # Reads a tenth of the time.
    SLOW = "slow"
    # Reads until it has its room, and then never.
    DEAF = "deaf"
    # Leaves and joins again all the time.
    COMER = "comer"


@dataclass(frozen=True)
class Plan:
    """Times are seconds from the plan's zero. Users join one after the other during the ramp and talk from then on; all
    fall silent `seconds` after the ramp has settled. The schedule is fixed and waits for nobody (an open model)."""

    users: int
    rooms: int
    # Seconds in which all talk, and in which all join.
    seconds: float
    ramp: float
    # Messages a second and user; 0: nobody says anything.
    rate: float
    # Characters of a message, from `length` up to `longest`; 0: each has `length`.
    length: int
    # Tells this run's messages from those of others.
    run: str
    longest: int = 0
    # Exponent of Zipf's law for the sizes of rooms and the rates of talkers; 0: all alike.
    zipf: float = 0.0
    # Shares of the users that have another role than to talk.
    slow: float = 0.0
    deaf: float = 0.0
    comers: float = 0.0
    # So many seconds after the ramp has settled all sockets are cut at once; 0: they are not.
    storm: float = 0.0
    # Rooms a second that are created while all talk.
    creations: float = 0.0
    # Whether the users follow the room list, and so get its frames and those of what is unread.
    follow: bool = False
    # Rooms of the plan in which each user is a member; it sees the first one of them.
    memberships: int = 1

    def __post_init__(self) -> None:
        if self.users < 1 or not 1 <= self.rooms <= self.users:
            raise ValueError("A plan needs users, and no more rooms than users.")
        if self.rate < 0 or self.seconds <= 0 or self.ramp < 0:
            raise ValueError("The seconds are above 0, and rate and ramp are not below 0.")
        if not SHORTEST <= self.length <= 4000 or not (self.longest == 0 or self.length <= self.longest <= 4000):
            raise ValueError(f"A message has {SHORTEST} to 4000 characters.")
        if min(self.slow, self.deaf, self.comers) < 0 or self.slow + self.deaf + self.comers > 1:
            raise ValueError("The shares of slow, deaf and coming users are 0 to 1, also together.")
        if min(self.zipf, self.storm, self.creations) < 0 or self.storm >= self.seconds:
            raise ValueError("Zipf's exponent and the rate of creations are not below 0, and the storm is in time.")
        if not 1 <= self.memberships <= self.rooms:
            raise ValueError("Each user is a member of at least one and at most all rooms.")
        if self.creations and (self.storm or not self.follow):
            raise ValueError("Created rooms are seen by those who follow the list, and who is cut off misses some.")

    @property
    def steady_from(self) -> float:
        return self.ramp + SETTLE

    @property
    def end(self) -> float:
        return self.steady_from + self.seconds

    @property
    def storm_at(self) -> float | None:
        return self.steady_from + self.storm if self.storm else None

    @property
    def messages_a_second(self) -> float:
        """Of all together, while all talk."""
        return sum(self._rates.values())

    def role_of(self, user: int) -> Role:
        draw = (user + 0.5) * SILVER % 1
        for role, share in ((Role.DEAF, self.deaf), (Role.SLOW, self.slow), (Role.COMER, self.comers)):
            if draw < share:
                return role
            draw -= share
        return Role.TALKER

    def room_of(self, user: int) -> int:
        """Which of the plan's rooms the user sees, from 0 on."""
        return self._rooms[user]

    def rooms_of(self, user: int) -> list[int]:
        """Those in which it is a member; the one that it sees comes first."""
        return [(self.room_of(user) + further) % self.rooms for further in range(self.memberships)]

    def in_room(self, room: int) -> list[int]:
        """The users who see one of the plan's rooms."""
        return self._seen_by[room]

    def joins_at(self, user: int) -> float:
        return self.ramp * user / self.users

    def sent_at(self, key: Key) -> float:
        rate = self._rates[key.sender]
        return self.joins_at(key.sender) + SETTLE + (key.sender * GOLDEN % 1 + key.n) / rate

    def first_after(self, sender: int, time: float) -> int:
        """The number of the sender's first message that is to be sent at a time or later."""
        return max(0, ceil((time - self.sent_at(Key(sender, 0))) * self._rates[sender]))

    def count(self, sender: int) -> int:
        """How many messages a user sends in all."""
        return self._counts[sender]

    def text(self, key: Key) -> str:
        extra = (key.sender * 31 + key.n * 17) % (self.longest - self.length + 1) if self.longest else 0
        return f"{self.run} {key.sender} {key.n} ".ljust(self.length + extra, "x")

    def read(self, text: str) -> Key | None:
        """Which message a text is, or None when it is none of this plan or was changed."""
        words = text.split(" ")
        if len(words) != 4 or not (words[1].isdecimal() and words[2].isdecimal()):
            return None
        key = Key(int(words[1]), int(words[2]))
        known = key.sender < self.users and key.n < self.count(key.sender)
        return key if known and text == self.text(key) else None

    def created_at(self, number: int) -> float:
        """When a room is to be created, the first with the number 0."""
        return self.steady_from + number / self.creations

    def created_name(self, number: int) -> str:
        return f"{self.run} created {number}"

    def created_room(self, name: str) -> int | None:
        """Which of the rooms that are created has this name; None for any other."""
        head, _, number = name.rpartition(" ")
        return int(number) if head == f"{self.run} created" and number.isdecimal() else None

    @cached_property
    def _rooms(self) -> list[int]:
        return deal_rooms(self.users, self.rooms, self.zipf)

    @cached_property
    def _seen_by(self) -> list[list[int]]:
        rooms: list[list[int]] = [[] for _ in range(self.rooms)]
        for user, room in enumerate(self._rooms):
            rooms[room].append(user)
        return rooms

    @cached_property
    def _rates(self) -> dict[int, float]:
        """Of those who say anything."""
        talkers = [user for user in range(self.users) if self.rate and self.role_of(user) is Role.TALKER]
        return deal_rates(talkers, self.rate, self.zipf, FASTEST)

    @cached_property
    def _counts(self) -> list[int]:
        return [self.first_after(user, self.end) if user in self._rates else 0 for user in range(self.users)]

"""What the layer hands out: positions, records, batches and gaps. All of it is immutable and shared."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from kafka_layer.codec import Codec

T = TypeVar("T")
UNCHANGEABLE = frozenset({str, bytes, int, float, bool, type(None)})


class Position(NamedTuple):
    """The place of a record in its partition. Ordered by offset inside one partition.

    As a place to resume from it means "behind this record"; an offset of -1 is in front of the first one.
    """

    topic: str
    partition: int
    offset: int


class Record:
    """One record of a group. `message` is decoded once, on first use, and read-only; `value` is what Kafka stores."""

    # There may be a hundred thousand of these in a process: what is rarely asked for is made when it is.
    __slots__ = (
        "_codec", "_flat", "_headers", "_message", "_rendering", "arrived", "group", "id", "position", "timestamp_ms",
        "value",
    )  # fmt: skip

    def __init__(
        self,
        position: Position,
        group: str,
        value: bytes,
        *,
        codec: Codec,
        headers: Sequence[tuple[str, bytes | None]],
        timestamp_ms: int,
        arrived: float,
    ) -> None:
        self.position = position
        self.group = group
        self.value = value
        self.timestamp_ms = timestamp_ms  # by the broker's clock
        self.arrived = arrived  # by this process's monotonic clock, seconds
        self.id = next((_text(value) for name, value in headers if name == "id"), None)
        self._headers = headers if len(headers) > 1 or self.id is None else None
        self._codec = codec
        self._message: Mapping[str, Any] | None = None
        self._flat: dict[str, Any] | None = None  # the message, when nothing in it could be changed but itself
        self._rendering: tuple[Callable[[Record], Any], Any] | None = None

    @property
    def headers(self) -> dict[str, bytes]:
        """A dict of its own for each caller."""
        if self._headers is None:
            return {"id": str(self.id).encode()}
        return {name: value or b"" for name, value in self._headers}

    @property
    def message(self) -> Mapping[str, Any]:
        """Raises InvalidRecord when the value is not an encoded message; records in a Batch never do."""
        if self._message is None:
            self._message = MappingProxyType(self._flat or self._codec.decode(self.value))
        return self._message

    def decode(self) -> dict[str, Any]:
        """A dict of its own for a caller that may change it. Raises InvalidRecord."""
        if self._flat is not None:
            return self._flat.copy()  # a tenth of the cost of decoding it again
        message = self._codec.decode(self.value)
        if all(type(value) in UNCHANGEABLE for value in message.values()):
            self._flat = message.copy()
        return message

    def render(self, function: Callable[["Record"], T]) -> T:
        """`function(record)`, called once while nothing else is rendered of it, and kept as long as the record: members
        of a busy group stand at many places, and their batches hold the same records.
        """
        if self._rendering is None or self._rendering[0] != function:
            self._rendering = function, function(self)
        rendering: T = self._rendering[1]
        return rendering

    def __repr__(self) -> str:
        return f"<Record {self.group} {self.position} id={self.id}>"


def _text(value: bytes | None) -> str | None:
    return value.decode(errors="replace") if value else None


class Batch:
    """What a member has not read yet, in the order of the log; one object for all members at the same place."""

    __slots__ = ("_renderings", "group", "records", "through")

    def __init__(self, group: str, records: tuple[Record, ...], through: int) -> None:
        self.group = group
        self.records = records
        self.through = through  # the offset up to which the member has read once it has this batch
        self._renderings: dict[Callable[[Batch], Any], Any] = {}

    def render(self, function: Callable[["Batch"], T]) -> T:
        """`function(batch)`, called once for all members of one event loop. Give a module's function, not a lambda."""
        if function not in self._renderings:
            self._renderings[function] = function(self)
        rendering: T = self._renderings[function]
        return rendering

    def __repr__(self) -> str:
        return f"<Batch {self.group} {len(self.records)} records through {self.through}>"


@dataclass(frozen=True, slots=True)
class Gap:
    """Records from `missed_from` on up to `oldest` cannot be had here any more; what follows starts at `oldest`."""

    group: str
    missed_from: Position
    oldest: Position


@dataclass(frozen=True, slots=True)
class Joined:
    """Every record behind `live_from` follows, and none before; `live_from` serves as `after` of a later join.

    `covered` is False when the ring does not reach back to the place asked for. From `oldest` on it has everything.
    """

    live_from: Position
    covered: bool
    oldest: Position

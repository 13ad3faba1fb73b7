"""The opaque place in a room's log that clients keep."""

import re
from typing import NamedTuple, Self

from accounts.errors import ChatError, ErrorCode

# Offsets are 63-bit numbers, and -1 is in front of the first record; more digits than that are nobody's cursor.
SHAPE = re.compile(r"([0-9]{1,9})-([0-9]{1,6})-(-1|[0-9]{1,19})", re.ASCII)


class Cursor(NamedTuple):
    """(epoch, partition, offset) of a record; within a room cursors sort in the room's order, since a room has one
    partition."""

    epoch: int
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.partition}-{self.offset}"

    @classmethod
    def parse(cls, text: object, *, partition: int) -> Self:
        """Read a client's cursor for a room on `partition`; raise `ChatError` `invalid` when it is malformed or of
        another partition."""
        match = SHAPE.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise ChatError(ErrorCode.INVALID, "The cursor is malformed; use one that the server sent for this room.")
        cursor = cls(*map(int, match.groups()))
        if cursor.partition != partition or cursor.offset > 2**63 - 1:
            raise ChatError(ErrorCode.INVALID, "The cursor belongs to another room.")
        return cursor

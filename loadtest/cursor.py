"""Where a message stands in its room. Clients must not look into a cursor; who judges the server does."""

import re

# Epoch, partition and offset in one number that sorts as they do; within a room, in the room's order.
Place = int

SHAPE = re.compile(r"(\d{1,9})-(\d{1,6})-(-1|\d{1,18})", re.ASCII)


def place_of(cursor: str) -> Place:
    """Raises `ValueError` for what is no cursor."""
    match = SHAPE.fullmatch(cursor)
    if match is None:
        raise ValueError(f"{cursor!r} is no cursor.")
    epoch, partition, offset = map(int, match.groups())
    # -1 is in front of the first record.
    return (epoch << 20 | partition) << 60 | offset + 1

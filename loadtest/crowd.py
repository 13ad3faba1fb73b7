"""How uneven a crowd is: rooms of very different sizes, and few who say much."""

from collections.abc import Sequence
from random import Random

# The same crowd in each run of the same plan.
SEED = 8


def weights(count: int, exponent: float) -> list[float]:
    """Shares of 1 by Zipf's law, the largest first; the exponent 0 makes all alike."""
    raw = [1 / rank**exponent for rank in range(1, count + 1)]
    total = sum(raw)
    return [weight / total for weight in raw]


def deal_rooms(users: int, rooms: int, exponent: float) -> list[int]:
    """User → room. Each room has somebody, and its share of the rest; neighbours come from different rooms."""
    if exponent == 0:
        return [user % rooms for user in range(users)]
    exact = [weight * (users - rooms) for weight in weights(rooms, exponent)]
    sizes = [1 + int(size) for size in exact]
    by_remainder = sorted(range(rooms), key=lambda room: int(exact[room]) - exact[room])
    for room in by_remainder[: users - sum(sizes)]:
        sizes[room] += 1
    dealt = [room for room, size in enumerate(sizes) for _ in range(size)]
    Random(SEED).shuffle(dealt)  # noqa: S311 (no secret)
    return dealt


def deal_rates(talkers: Sequence[int], mean: float, exponent: float, fastest: float) -> dict[int, float]:
    """Talker → messages a second, `mean` on average but for those who would say more than `fastest`."""
    order = list(talkers)
    if exponent > 0:
        Random(SEED).shuffle(order)  # noqa: S311 (no secret)
    total = mean * len(order)
    shares = weights(len(order), exponent)
    return {user: min(total * share, max(fastest, mean)) for user, share in zip(order, shares, strict=True)}

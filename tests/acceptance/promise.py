"""What is done to somebody holds on every server within 2 s of the answer."""

from collections.abc import Awaitable, Callable
from time import monotonic

PROMISED = 2.0  # seconds from the answer of the call
SLACK = 3.0  # seconds for a busy machine


async def until_it_holds(attempt: Callable[[], Awaitable[bool]], *, answered: float) -> None:
    """Try again and again until an attempt finds that it holds; one that begins later than promised must.

    `answered`: monotonic seconds at which the call was. How long an attempt itself takes says nothing.
    """
    began = answered
    while not await attempt():
        assert began <= answered + PROMISED + SLACK, f"It does not hold {began - answered:.1f} s after the answer."
        began = monotonic()

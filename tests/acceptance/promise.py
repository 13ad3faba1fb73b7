"""What is done to somebody holds on every server within 2 s of the answer."""

from collections.abc import Awaitable, Callable
from time import monotonic

from tests.acceptance.client import ChatClient

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


async def missing(talker: ChatClient, other: ChatClient, room: int, *readers: ChatClient) -> list[ChatClient]:
    """Those of the readers that miss what `talker` says now, judged when all have what `other` says after it."""
    said = (await talker.say(room, "hidden"))["message"]
    mark = (await other.say(room, "mark"))["message"]
    for reader in readers:
        await reader.until(lambda reader: mark in ids(reader))
    return [reader for reader in readers if said not in ids(reader)]


def ids(client: ChatClient) -> list[str]:
    return [frame["id"] for frame in client.of_type("message")]

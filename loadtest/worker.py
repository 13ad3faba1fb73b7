"""One event loop with a share of the users. Several such workers may run a plan; the parent merges their counts."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

from loadtest.checker import Receiver, RoomOrder
from loadtest.outcome import Outcome
from loadtest.plan import Plan, Seat
from loadtest.user import VirtualUser

# Seconds after the last send within which everything must have come; a run without trouble ends long before. A client
# whose server died may wait for 30 s before it comes back.
DRAIN = 60.0
LOOK = 0.25  # seconds between two looks whether it has
PROGRESS = 1.0  # seconds between two reports of the progress

# Called with the seconds since the plan's zero and the counts so far.
Show = Callable[[float, Outcome], None]


@dataclass(frozen=True)
class Share:
    """What a worker is given; it can be pickled. `seats` are the users of this worker, `names` those of the whole plan
    by their number, `zero` the plan's on the clock of `time.monotonic`, which all processes of a machine share."""

    plan: Plan
    urls: Sequence[str]
    seats: Sequence[Seat]
    names: dict[int, str]
    zero: float


async def run_share(share: Share, show: Show) -> Outcome:
    """Run the users of a share from their joining to their leaving."""
    outcome = Outcome()
    users = _make_users(share, outcome)
    progress = asyncio.create_task(_report(share, outcome, show), name="loadtest-progress")
    try:
        await asyncio.gather(*(user.talk() for user in users))
        end = monotonic() + DRAIN
        # Now and then, since a look goes over all receivers.
        while monotonic() < end and not all(user.is_done for user in users):  # noqa: ASYNC110
            await asyncio.sleep(LOOK)
    finally:
        progress.cancel()
        await asyncio.wait([progress])
        await asyncio.gather(*(user.leave() for user in users))
    return outcome


def _make_users(share: Share, outcome: Outcome) -> list[VirtualUser]:
    plan = share.plan
    rooms = {plan.room_of(seat.user) for seat in share.seats}
    orders = {room: RoomOrder(plan, share.names) for room in rooms}
    outcome.orders = {room: order.places for room, order in orders.items()}
    made = []
    for seat in share.seats:
        room = plan.room_of(seat.user)
        receiver = Receiver(plan, orders[room], plan.in_room(room), outcome)
        made.append(VirtualUser(plan, seat, share.urls, receiver, outcome, share.zero))
    return made


async def _report(share: Share, outcome: Outcome, show: Show) -> None:
    while True:
        show(monotonic() - share.zero, outcome)
        await asyncio.sleep(PROGRESS)

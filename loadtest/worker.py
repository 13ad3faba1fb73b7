"""One event loop with a share of the users. Several such workers may run a plan; the parent merges their counts."""

import asyncio
import gc
import resource
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from itertools import count
from time import process_time
from typing import Any

from loadtest.creations import Creations, scheduled
from loadtest.frames import FrameReader
from loadtest.latencies import Latencies
from loadtest.outcome import Outcome
from loadtest.plan import Plan, Role, Seat
from loadtest.progress import Progress
from loadtest.roomlog import RoomLog
from loadtest.schedule import Schedule
from loadtest.user import VirtualUser
from loadtest.watch import Watch
from loadtest.world import World

# Seconds after the last send within which everything must have come; a run without trouble ends long before. A client
# whose server died may wait for 30 s before it comes back.
DRAIN = 60.0
# Seconds without a receipt after which nothing more is waited for, although something is missing.
QUIET = 10.0
LOOK = 0.25  # seconds between two looks whether all has come
SECOND = 1.0  # between two reports of the progress
GOODBYE = 2.0  # seconds for the servers' goodbyes
# A slow reader reads for the first seconds of each such second; one who comes and goes stays and is away for so long.
READING = 0.1
STAY, AWAY = 4.0, 1.0

Show = Callable[[Progress], None]


@dataclass(frozen=True)
class Share:
    """What a worker is given; it can be pickled. `seats` are the users of this worker, `names` those of the whole plan
    by their number."""

    plan: Plan
    urls: Sequence[str]
    seats: Sequence[Seat]
    names: dict[int, str]
    worker: int
    workers: int


def run_share(share: Share, zero: float, show: Show) -> Outcome:
    """Run the users of a share from their joining to their leaving, on a loop of its own. `zero` is the plan's on the
    clock of `time.monotonic`, which all processes of a machine share."""
    raise_open_files()
    _spare_garbage()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(Worker(share, zero, show).run())


class Worker:
    def __init__(self, share: Share, zero: float, show: Show) -> None:
        plan = share.plan
        logs = {room: RoomLog(plan, room, share.names) for room in {plan.room_of(seat.user) for seat in share.seats}}
        numbers = {seat.room: logs[plan.room_of(seat.user)] for seat in share.seats}
        self._share = share
        self._show = show
        schedule = Schedule(plan, [seat.user for seat in share.seats], lambda key: self._users[key.sender].say(key))
        self._world = World(plan, share.urls, zero, logs, FrameReader(numbers), schedule, Outcome())
        self._watch = Watch()
        # User of the plan → its virtual user at present; one who comes and goes has none while away.
        roles = {seat: plan.role_of(seat.user) for seat in share.seats}
        self._users = {
            seat.user: VirtualUser(self._world, seat, role) for seat, role in roles.items() if role is not Role.COMER
        }
        self._lives: set[asyncio.Task[None]] = set()
        # Owner of all tasks; made by `run`.
        self._group: asyncio.TaskGroup

    async def run(self) -> Outcome:
        world, plan = self._world, self._share.plan
        creations = Creations(world, self._share.seats, worker=self._share.worker, workers=self._share.workers)
        async with asyncio.TaskGroup() as self._group:
            asyncio.get_running_loop().set_exception_handler(self._fail)
            helpers = [self._group.create_task(work) for work in (self._watch.run(), self._report(), self._look())]
            helpers += [self._group.create_task(self._read_slowly())] if plan.slow else []
            async with asyncio.TaskGroup() as acts:
                for act in (self._join(), self._talk(), self._cut(), self._observe()):
                    acts.create_task(act)
                if plan.creations:
                    acts.create_task(creations.run())
            await self._drain()
            await self._leave()
            for helper in helpers:
                helper.cancel()
        await creations.close()
        return self._outcome()

    # The plan

    async def _join(self) -> None:
        async with asyncio.TaskGroup() as comers:
            for seat in sorted(self._share.seats):
                await self._until(self._share.plan.joins_at(seat.user))
                if seat.user in self._users:
                    self._start(self._users[seat.user].live())
                else:
                    comers.create_task(self._come_and_go(seat))

    async def _talk(self) -> None:
        """Say everything at its time."""
        schedule = self._world.schedule
        while schedule:
            await self._until(schedule.next_at)
            schedule.say_due(self._world.now())

    async def _cut(self) -> None:
        """The storm."""
        if self._share.plan.storm_at is not None:
            await self._until(self._share.plan.storm_at)
            for user in self._users.values():
                user.cut()

    async def _come_and_go(self, seat: Seat) -> None:
        plan, is_back = self._share.plan, False
        while not is_back or self._world.now() < plan.end - STAY:
            user = self._users[seat.user] = VirtualUser(self._world, seat, Role.COMER, is_back=is_back)
            life = self._start(user.live())
            await asyncio.sleep(STAY)
            user.leave(for_good=False)
            del self._users[seat.user]
            await asyncio.wait([life], timeout=AWAY)
            life.cancel()
            await asyncio.sleep(AWAY)
            is_back = True

    async def _read_slowly(self) -> None:
        slow = [seat.user for seat in self._share.seats if self._share.plan.role_of(seat.user) is Role.SLOW]
        while True:
            for on, pause in ((True, READING), (False, SECOND - READING)):
                for number in slow:
                    if (user := self._users.get(number)) is not None:
                        user.read(on=on or self._world.now() > self._share.plan.end)
                await asyncio.sleep(pause)

    async def _drain(self) -> None:
        """Wait until everything has come, or nothing more does."""
        end = self._world.now() + DRAIN
        was_quiet = False
        while not self._has_all() and self._world.now() < end:
            # Twice, with a turn of the loop in between: when this process itself stood still, there is more to read.
            is_quiet = self._is_quiet()
            if was_quiet and is_quiet:
                return
            was_quiet = is_quiet
            await asyncio.sleep(LOOK)

    def _has_all(self) -> bool:
        outcome, plan = self._world.outcome, self._share.plan
        return (
            all(user.is_done for user in self._users.values())
            and all(log.is_complete for log in self._world.logs.values())
            and not any(outcome.unshown(plan, number) for number in scheduled(plan))
        )

    def _is_quiet(self) -> bool:
        world = self._world
        is_silent = world.now() - max(world.heard, world.plan.end) > QUIET
        return is_silent and all(user.sends.is_done and user.is_back for user in self._users.values())

    async def _leave(self) -> None:
        for user in self._users.values():
            user.leave(for_good=True)
        if self._lives:
            await asyncio.wait(self._lives, timeout=GOODBYE)
        for life in list(self._lives):
            life.cancel()

    def _outcome(self) -> Outcome:
        outcome, world = self._world.outcome, self._world
        outcome.delivery.record_ticks(world.deliveries.take())
        world.reader.close()
        outcome.rooms = {room: log.record for room, log in world.logs.items()}
        return outcome

    # Around it

    async def _report(self) -> None:
        """Tell the progress at each full second of the plan."""
        outcome, world = self._world.outcome, self._world
        for second in count(1):
            await self._until(second)
            ticks = world.deliveries.take()
            outcome.delivery.record_ticks(ticks)
            cpu, lag = self._watch.take()
            received = outcome.received + sum(user.receiver.received for user in self._users.values())
            self._show(
                Progress(
                    self._share.worker, second, outcome.joined, outcome.sent, outcome.acknowledged, received,
                    outcome.frames, outcome.errors.total(), ticks, cpu, lag,
                )
            )  # fmt: skip

    async def _observe(self) -> None:
        """Note how busy this worker is while all talk."""
        plan, outcome = self._share.plan, self._world.outcome
        await self._until(plan.steady_from)
        self._watch.lags, begun = Latencies(), process_time()
        await self._until(plan.end)
        outcome.busiest = (process_time() - begun) / plan.seconds
        outcome.lag = self._watch.lags.at(99)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(SECOND)
            for user in self._users.values():
                user.look()
            for log in self._world.logs.values():
                log.settle()

    def _start(self, life: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """What goes wrong in a life by a mistake of this program ends the worker."""
        task = self._group.create_task(life)
        self._lives.add(task)
        task.add_done_callback(self._lives.discard)
        return task

    def _fail(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """So does what goes wrong while a frame is read. A broken connection is no mistake."""
        error = context.get("exception")
        if isinstance(error, Exception) and not isinstance(error, OSError):
            self._group.create_task(_raise(error))
        else:
            loop.default_exception_handler(context)

    async def _until(self, time: float) -> None:
        """Never earlier, although uvloop's clock counts whole milliseconds: what left early would seem fast."""
        while (rest := time - self._world.now()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(max(rest, 0.001))


async def _raise(error: Exception) -> None:
    raise error


def raise_open_files() -> None:
    """Let this process have as many sockets as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _spare_garbage() -> None:
    """No pauses for garbage that is none: nearly everything here lives until the end."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory

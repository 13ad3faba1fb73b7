"""One virtual user: joins its room in its turn, talks by its schedule, and checks what it sees."""

import asyncio
from collections.abc import Coroutine, Sequence
from time import monotonic
from typing import Any

from chatclient import ChatClient, ChatClientError, Frame, Refused
from loadtest.checker import Receiver, place_of
from loadtest.outcome import Outcome
from loadtest.plan import Key, Plan, Seat

# Seconds after its time from which a send counts as late by the generator's own fault.
LATE = 0.02


class VirtualUser:
    """`zero` is the plan's, on the clock of `time.monotonic`."""

    def __init__(
        self, plan: Plan, seat: Seat, urls: Sequence[str], receiver: Receiver, outcome: Outcome, zero: float
    ) -> None:
        self._plan = plan
        self._seat = seat
        self._receiver = receiver
        self._outcome = outcome
        self._zero = zero
        # Each begins with another server, and all go on with the others.
        at = seat.user % len(urls)
        self._client = ChatClient([*urls[at:], *urls[:at]], seat.token, on_event=self._take)
        # Sends and the joining, which the schedule does not wait for.
        self._tasks: set[asyncio.Task[None]] = set()

    async def talk(self) -> None:
        """Follow the schedule to its end; answers may still be under way then."""
        await self._until(self._plan.joins_at(self._seat.user))
        self._client.start()
        self._spawn(self._join())
        for n in range(self._plan.count(self._seat.user)):
            key = Key(self._seat.user, n)
            await self._until(self._plan.sent_at(key))
            self._outcome.sent += 1
            self._outcome.unacknowledged.add(key)
            self._spawn(self._send(key))

    @property
    def is_done(self) -> bool:
        """Everything is answered, and has been seen."""
        return not self._tasks and next(self._receiver.missing(), None) is None

    async def leave(self) -> None:
        """Give up what is still missing, and go."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.close()
        counters = self._client.counters
        self._outcome.missing.update(self._receiver.missing())
        self._outcome.twice += counters.repeats
        self._outcome.reconnects += max(0, counters.connections - 1)
        self._outcome.refusals += counters.refusals

    async def _join(self) -> None:
        await self._client.subscribe(self._seat.room)
        now = self._now()
        self._receiver.join(now)
        self._outcome.joined += 1
        self._outcome.joining.record(now - self._plan.joins_at(self._seat.user))

    async def _send(self, key: Key) -> None:
        intended = self._plan.sent_at(key)
        lateness = self._now() - intended
        self._outcome.latest = max(self._outcome.latest, lateness)
        self._outcome.late += lateness > LATE
        await self._client.send(self._seat.room, self._plan.text(key))
        self._outcome.unacknowledged.discard(key)
        self._outcome.acknowledged += 1
        if intended >= self._plan.steady_from:
            self._outcome.acknowledgement.record(self._now() - intended)

    def _take(self, event: Frame) -> None:
        match event["type"]:
            case "message":
                key = self._receiver.take((event["text"], event["sender"]), place_of(event["cursor"]))
                if key is not None and (intended := self._plan.sent_at(key)) >= self._plan.steady_from:
                    self._outcome.delivery.record(self._now() - intended)
            case "gap":
                self._outcome.gaps += 1
            case "refused" | "removed":
                self._outcome.errors[f"room {event['type']}: {event.get('code', event.get('reason'))}"] += 1

    def _now(self) -> float:
        return monotonic() - self._zero

    async def _until(self, time: float) -> None:
        await asyncio.sleep(max(0.0, time - self._now()))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._counted(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _counted(self, work: Coroutine[Any, Any, None]) -> None:
        """Count what fails for good."""
        try:
            await work
        except Refused as error:
            self._outcome.errors[error.code] += 1
        except ChatClientError as error:
            self._outcome.errors[str(error)] += 1

"""Storing while what stores is killed, and while what it needs goes away: each acknowledged message once."""

import asyncio
import os
import random
import uuid

import pytest

from devstack import DevStack
from tests.acceptance.chat import Chat
from tests.acceptance.load import Load
from tests.acceptance.processes import wait_for

# `make soak` has more.
KILLS = int(os.environ.get("KILLS", "5"))


@pytest.mark.timeout(120 + 30 * KILLS)
async def test_each_acknowledged_message_is_stored_once_though_the_event_consumer_is_killed(chat: Chat) -> None:
    """At random points: while it starts, while it takes its partitions, while it stores."""
    seed = random.randrange(10**6)
    print(f"seed {seed}, {KILLS} kills")
    chance = random.Random(seed)
    web = chat.web()
    process = chat.command("run_event_consumer", "--instance-id", f"test-{uuid.uuid4()}")
    async with Load(chat, web.url) as load:
        for _ in range(KILLS):
            if chance.random() < 0.7:
                await more_stored(load)
            await asyncio.sleep(chance.uniform(0, 2))
            process.kill()
            process.start()
        await more_stored(load)
    await asyncio.to_thread(load.check_stored)


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("service", "seconds"), [("postgres", 0), ("redis", 0), ("kafka", 5)])
async def test_storing_recovers_by_itself_when_a_service_is_restarted_under_load(
    chat: Chat, chat_stack: DevStack, service: str, seconds: float
) -> None:
    """Nobody restarts a process of the chat; what was acknowledged before, meanwhile and after is stored once."""
    web = chat.web()
    chat.event_consumer()
    async with Load(chat, web.url) as load:
        await more_stored(load)
        await asyncio.to_thread(chat_stack.stop, service)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(chat_stack.start, service)
        await load.grow(50)
        await more_stored(load)
    await asyncio.to_thread(load.check_stored)


async def more_stored(load: Load) -> None:
    """Wait until storing has gone on from here."""
    before = await asyncio.to_thread(load.stored)
    await asyncio.to_thread(wait_for, lambda: load.stored() > before, "storing goes on")

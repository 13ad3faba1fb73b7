"""Who signs out, changes the password or is deactivated is gone from every server within 2 s: two of them here, and no
poller, so that the rows of `AccessChange` must do."""

import asyncio
from contextlib import AsyncExitStack
from time import monotonic

import pytest

from tests.acceptance.browser import PASSWORD, Browser
from tests.acceptance.chat import Chat, create_room
from tests.acceptance.client import ChatClient
from tests.acceptance.promise import PROMISED, SLACK, until_it_holds

# What ends the sessions and tokens of a person, and the close code and the status that its other doors get then.
ENDS = [
    ("DELETE", "/sessions", None, 4001, 401),
    ("PUT", "/me/password", {"old": PASSWORD, "new": "another fine day"}, 4001, 401),
    ("DELETE", "/me", {"password": PASSWORD}, 4003, 403),
]


@pytest.mark.parametrize(("method", "path", "body", "close_code", "status"), ENDS)
async def test_what_ends_an_account_s_rights_ends_them_on_the_other_server(
    chat: Chat, method: str, path: str, body: dict[str, str] | None, close_code: int, status: int
):
    """Sockets of sessions and of programs close, and a token that the other server has just seen is refused."""
    here, there = chat.web("web1"), chat.web("web2")
    victim = await asyncio.to_thread(Browser().sign_up, here.url)
    other = await asyncio.to_thread(Browser().sign_in, there.url, victim.user)
    token = (await victim.acall(here.url, "POST", "/tokens"))["token"]
    program = Browser(token=token)
    async with AsyncExitStack() as stack:
        doors = [ChatClient(there.url, headers=other.socket_headers(there.url)), ChatClient(there.url, token)]
        for door in doors:
            await (await stack.enter_async_context(door)).until(lambda client: client.of_type("welcome"))
        await program.acall(there.url, "GET", "/rooms")
        assert program.status == 200
        await victim.acall(here.url, method, path, body)
        assert victim.status == 204
        answered = monotonic()
        refused = asyncio.create_task(_refused_after(program, there.url, status, since=answered))
        closed = [asyncio.create_task(_closed_after(door, close_code, since=answered)) for door in doors]
        session, program_socket = await asyncio.gather(*closed)
        rest = await refused
    print(f"{method} {path}: session {session:.2f} s, token's socket {program_socket:.2f} s, REST {rest:.2f} s")


async def test_signing_out_here_closes_the_sockets_of_this_session_on_every_server(chat: Chat):
    """And of no other session, and no program's."""
    here, there = chat.web("web1"), chat.web("web2")
    leaving = await asyncio.to_thread(Browser().sign_up, here.url)
    staying = await asyncio.to_thread(Browser().sign_in, there.url, leaving.user)
    token = (await leaving.acall(here.url, "POST", "/tokens"))["token"]
    room = await asyncio.to_thread(create_room, here.url, token)
    async with (
        ChatClient(here.url, headers=leaving.socket_headers(here.url)) as one,
        ChatClient(there.url, headers=leaving.socket_headers(there.url)) as two,
        ChatClient(there.url, headers=staying.socket_headers(there.url)) as three,
        ChatClient(there.url, token) as four,
    ):
        for client in (one, two, three, four):
            await client.until(lambda client: client.of_type("welcome"))
        await leaving.acall(here.url, "DELETE", "/session")
        answered = monotonic()
        times = await asyncio.gather(*[_closed_after(client, 4001, since=answered) for client in (one, two)])
        print(f"DELETE /session: here {times[0]:.2f} s, on the other server {times[1]:.2f} s")
        for client in (three, four):
            assert (await client.subscribe(room))["type"] == "subscribed"


async def _closed_after(client: ChatClient, code: int, *, since: float) -> float:
    """Seconds until the socket is closed, within what is promised."""
    assert await client.closed(deadline=PROMISED + SLACK) == code
    return monotonic() - since


async def _refused_after(program: Browser, url: str, status: int, *, since: float) -> float:
    """Seconds until a call is refused; from then on every call is."""

    async def is_refused() -> bool:
        await asyncio.sleep(0.05)  # the pace of the asking, not the wait for its end
        await program.acall(url, "GET", "/rooms")
        return program.status != 200

    await until_it_holds(is_refused, answered=since)
    seconds = monotonic() - since
    assert program.status == status
    return seconds

"""The Python client against a server that says exactly what the protocol lets a server say."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import chatclient.client
from chatclient import Backoff, ChatClient, Ended, Frame, Lost, Refused
from chatclient.connection import WINDOW
from chatclient.outbox import TRIES, Outbox
from tests.unit.scripted import DEADLINE, ScriptedServer, message, scripted_server

PASSING = ["rate_limited", "unavailable", "unknown"]


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as server:
        yield server


@pytest.fixture
async def client(server: ScriptedServer) -> AsyncIterator[ChatClient]:
    """One that comes back at once; it does not connect before a test looks."""
    async with asyncio.timeout(30):
        client = ChatClient(server.url, "token", backoff=Backoff(draw=lambda: 0.0))
        client.start()
        yield client
        await client.close()


async def next_events(client: ChatClient, count: int) -> list[Frame]:
    events: list[Frame] = []
    async with asyncio.timeout(DEADLINE):
        async for event in client:
            if event["type"] != "welcome":
                events.append(event)
            if len(events) == count:
                return events
    raise AssertionError(f"The client ended after {events}.")


async def subscribed(client: ChatClient, visit: Any, **answer: Any) -> None:
    task = asyncio.create_task(client.subscribe(12))
    await visit.hear_subscribe(**answer)
    await task


# The connection


async def test_the_token_goes_with_the_handshake_and_not_into_the_address(client: ChatClient, server: ScriptedServer):
    visit = await server.visit()
    assert visit.headers["Authorization"] == "Bearer token"
    assert visit.socket.request.path == "/ws"


async def test_a_ping_is_answered_with_its_id(client: ChatClient, server: ScriptedServer):
    visit = await server.visit()
    await visit.say({"type": "ping", "id": "7"})
    assert await visit.hear() == {"type": "pong", "id": "7"}


async def test_it_connects_anew_after_hearing_nothing_for_two_ping_intervals(
    client: ChatClient, server: ScriptedServer
):
    silent = await server.visit(ping_interval=0.05)
    await silent.ended()
    await server.visit()


async def test_a_server_that_speaks_no_json_is_left(client: ChatClient, server: ScriptedServer):
    visit = await server.visit()
    await visit.socket.send("<html>")
    await server.visit()


@pytest.mark.parametrize("code", [1000, 4001, 4003])
async def test_a_terminal_close_code_ends_the_client(client: ChatClient, server: ScriptedServer, code: int):
    sending = asyncio.create_task(client.send(12, "hello"))
    visit = await server.visit()
    await visit.hear()
    await visit.close(code)
    with pytest.raises(Ended) as end:
        await sending
    assert end.value.code == code
    with pytest.raises(Ended):
        await client.connected()
    with pytest.raises(Ended):
        await client.subscribe(12)


@pytest.mark.parametrize("code", [1001, 1011, 4008, 4009, 4010, 4012, 4999])
async def test_other_close_codes_are_come_back_from(client: ChatClient, server: ScriptedServer, code: int):
    visit = await server.visit()
    await visit.close(code)
    await server.visit()


async def test_several_servers_are_used_in_turn(server: ScriptedServer):
    async with scripted_server() as other:
        client = ChatClient([server.url, other.url], "token", backoff=Backoff(draw=lambda: 0.0))
        client.start()
        for one in (server, other, server):
            visit = await one.visit()
            await visit.close(4012)
        await client.close()


async def test_a_server_that_cannot_be_reached_is_passed_over(server: ScriptedServer):
    async with scripted_server() as gone:
        pass
    client = ChatClient([gone.url, server.url], "token", backoff=Backoff(draw=lambda: 0.0))
    client.start()
    await server.visit()
    await client.close()
    assert client.counters.failures == 1


def test_an_address_that_is_no_base_url_is_refused_at_once():
    with pytest.raises(ValueError, match="http"):
        ChatClient("localhost:8000", "token")


async def test_the_server_s_wish_to_come_back_later_is_handed_to_the_backoff(server: ScriptedServer):
    asked: list[float] = []

    class Listening(Backoff):
        def ask(self, after: float, now: float) -> None:
            asked.append(after)

    client = ChatClient(server.url, "token", backoff=Listening(draw=lambda: 0.0))
    client.start()
    visit = await server.visit()
    await visit.say({"type": "reconnect", "after": 12.5})
    await visit.close(4012)
    await server.visit()
    await client.close()
    assert asked == [12.5]


async def test_frames_of_an_unknown_kind_change_nothing(client: ChatClient, server: ScriptedServer):
    visit = await server.visit()
    await subscribed(client, visit)
    await visit.say({"type": "weather", "room": {"id": 12}}, {"kind": "no type"}, {"type": "ack", "id": None})
    await visit.say([])
    await visit.say(message(1))
    events = await next_events(client, 2)
    assert [event["type"] for event in events] == ["weather", "message"]


async def test_leaving_says_goodbye(client: ChatClient, server: ScriptedServer):
    visit = await server.visit()
    await client.connected()
    await client.close()
    await visit.ended()
    assert visit.socket.close_code == 1000
    assert [event["type"] async for event in client] == ["welcome"]


# Rooms


async def test_one_frame_may_hold_several_and_they_keep_their_order(client: ChatClient, server: ScriptedServer):
    visit = await server.visit()
    await subscribed(client, visit)
    await visit.say(message(1), message(2))
    await visit.say(message(3))
    assert await next_events(client, 3) == [message(1), message(2), message(3)]


async def test_a_room_is_resumed_behind_the_last_event(client: ChatClient, server: ScriptedServer):
    visit = await server.visit()
    await subscribed(client, visit)
    await visit.say(message(1), {"type": "edited", "room": 12, "cursor": "c2", "message": "m1", "text": "new"})
    await next_events(client, 2)
    await visit.close(4012)
    visit = await server.visit()
    assert (await visit.hear_subscribe())["after"] == "c2"


async def test_an_acknowledgement_does_not_move_the_place_of_a_resume(client: ChatClient, server: ScriptedServer):
    """What others sent before it may still be on its way."""
    visit = await server.visit()
    await subscribed(client, visit, cursor="c0")
    sending = asyncio.create_task(client.send(12, "hello"))
    await visit.ack(await visit.hear(), cursor="c9")
    await sending
    await visit.close(4012)
    visit = await server.visit()
    assert (await visit.hear_subscribe())["after"] == "c0"


async def test_a_message_that_comes_again_is_shown_once(client: ChatClient, server: ScriptedServer):
    visit = await server.visit()
    await subscribed(client, visit)
    await visit.say(message(1))
    await next_events(client, 1)
    await visit.close(4012)
    visit = await server.visit()
    await visit.hear_subscribe()
    await visit.say(message(1), message(2))
    assert await next_events(client, 1) == [message(2)]
    assert client.counters.repeats == 1


async def test_a_gap_that_cannot_be_filled_is_an_event_and_the_room_goes_on(client: ChatClient, server: ScriptedServer):
    visit = await server.visit()
    await subscribed(client, visit, cursor="c0")
    await visit.close(4012)
    visit = await server.visit()
    await visit.hear_subscribe(cursor="c7", recovered=False)
    await visit.say(message(8))
    assert await next_events(client, 2) == [{"type": "gap", "room": 12, "after": "c0"}, message(8)]


async def test_a_cursor_that_the_server_refuses_is_a_gap(client: ChatClient, server: ScriptedServer):
    visit = await server.visit()
    await subscribed(client, visit, cursor="c0")
    await visit.close(4012)
    visit = await server.visit()
    refused = await visit.hear()
    await visit.say({"type": "error", "id": refused["id"], "code": "invalid", "detail": "No cursor of this room."})
    assert "after" not in await visit.hear_subscribe(cursor="c5")
    assert await next_events(client, 1) == [{"type": "gap", "room": 12, "after": "c0"}]


async def test_a_room_that_may_not_be_seen_is_an_error_of_the_first_subscribe(
    client: ChatClient, server: ScriptedServer
):
    visit = await server.visit()
    subscribing = asyncio.create_task(client.subscribe(12))
    asked = await visit.hear()
    await visit.say({"type": "error", "id": asked["id"], "code": "banned", "detail": "No."})
    with pytest.raises(Refused, match="banned"):
        await subscribing


async def test_a_room_that_may_not_be_seen_any_more_is_told_once(client: ChatClient, server: ScriptedServer):
    visit = await server.visit()
    await subscribed(client, visit)
    await visit.close(4012)
    visit = await server.visit()
    asked = await visit.hear()
    await visit.say({"type": "error", "id": asked["id"], "code": "not_found", "detail": "No."})
    assert await next_events(client, 1) == [{"type": "refused", "room": 12, "code": "not_found"}]


async def test_a_room_that_one_was_removed_from_is_not_resumed(client: ChatClient, server: ScriptedServer):
    visit = await server.visit()
    await subscribed(client, visit)
    await visit.say({"type": "removed", "room": 12, "reason": "kicked"})
    await next_events(client, 1)
    await visit.close(4012)
    visit = await server.visit()
    sending = asyncio.create_task(client.send(13, "elsewhere"))
    assert (await visit.hear())["type"] == "send"
    sending.cancel()


async def test_late_word_of_a_removal_ends_no_subscription_that_was_asked_for_since(
    client: ChatClient, server: ScriptedServer
):
    visit = await server.visit()
    subscribing = asyncio.create_task(client.subscribe(12))
    asked = await visit.hear()
    await visit.say({"type": "removed", "room": 12, "reason": "banned"})
    await visit.say({"type": "subscribed", "id": asked["id"], "room": 12, "cursor": "0-4", "recovered": True})
    await subscribing
    await visit.say(message(5))
    assert [event["type"] for event in await next_events(client, 1)] == ["message"]


async def test_nothing_of_a_room_is_shown_after_leaving_it(client: ChatClient, server: ScriptedServer):
    visit = await server.visit()
    await subscribed(client, visit)
    await client.unsubscribe(12)
    asked = await visit.hear()
    assert asked["type"] == "unsubscribe"
    await visit.say(message(1))
    await visit.say({"type": "unsubscribed", "id": asked["id"], "room": 12}, {"type": "unread", "room": 12, "count": 1})
    assert [event["type"] for event in await next_events(client, 1)] == ["unread"]


async def test_a_caller_who_does_not_keep_up_misses_nothing(
    client: ChatClient, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
):
    """The queue of events is bounded, and the room goes on from its cursor when there is space."""
    monkeypatch.setattr(chatclient.client, "MAX_EVENTS", 4)
    visit = await server.visit()
    await subscribed(client, visit)
    await visit.say(*(message(n) for n in range(1, 8)), {"type": "ping", "id": "1"})
    await visit.hear()
    events = await next_events(client, 3)
    again = await visit.hear_subscribe()
    assert again["after"] == "c3"
    await visit.say(*(message(n) for n in range(4, 8)))
    assert [*events, *(await next_events(client, 4))] == [message(n) for n in range(1, 8)]
    assert client.counters.repeats == 0


async def test_a_callback_takes_the_place_of_the_iterator(server: ScriptedServer):
    got: asyncio.Queue[Frame] = asyncio.Queue()
    client = ChatClient(server.url, "token", on_event=got.put_nowait)
    client.start()
    visit = await server.visit()
    await subscribed(client, visit)
    await visit.say(message(1))
    assert (await got.get())["type"] == "welcome"
    assert await got.get() == message(1)
    await client.close()


# Sending


async def test_a_message_is_done_with_its_acknowledgement(client: ChatClient, server: ScriptedServer):
    visit = await server.visit()
    sending = asyncio.create_task(client.send(12, "hello", reply_to="x"))
    frame = await visit.hear()
    assert frame == {"type": "send", "id": frame["id"], "room": 12, "text": "hello", "reply_to": "x"}
    await visit.ack(frame, cursor="c1")
    assert (await sending)["cursor"] == "c1"


async def test_what_was_not_acknowledged_is_sent_again_with_its_id_and_retry(
    client: ChatClient, server: ScriptedServer
):
    visit = await server.visit()
    sending = asyncio.create_task(client.send(12, "hello"))
    first = await visit.hear()
    await visit.close(4012)
    visit = await server.visit()
    again = await visit.hear()
    assert again == {**first, "retry": True}
    await visit.ack(again)
    await sending


async def test_what_did_not_go_out_before_is_sent_without_retry(server: ScriptedServer):
    client = ChatClient(server.url, "token", backoff=Backoff(draw=lambda: 0.0))
    sending = [asyncio.create_task(client.send(12, text)) for text in ("one", "two")]
    await asyncio.sleep(0)
    client.start()
    visit = await server.visit()
    frames = [await visit.hear(), await visit.hear()]
    assert [(frame["text"], "retry" in frame) for frame in frames] == [("one", False), ("two", False)]
    for frame in frames:
        await visit.ack(frame)
    await asyncio.gather(*sending)
    await client.close()


async def test_rooms_are_resumed_before_anything_is_sent(client: ChatClient, server: ScriptedServer):
    visit = await server.visit()
    await subscribed(client, visit)
    await visit.close(4012)
    await visit.ended()
    sending = asyncio.create_task(client.send(12, "hello"))
    visit = await server.visit()
    assert [(await visit.hear())["type"], (await visit.hear())["type"]] == ["subscribe", "send"]
    sending.cancel()


async def test_many_messages_leave_in_order_and_few_at_a_time(client: ChatClient, server: ScriptedServer):
    """A server closes a socket whose frames it cannot hold."""
    visit = await server.visit()
    await client.connected()
    sending = [asyncio.create_task(client.send(12, str(n))) for n in range(3 * WINDOW)]
    frames = [await visit.hear() for _ in range(WINDOW)]
    await visit.say({"type": "ping", "id": "1"})
    assert (await visit.hear())["type"] == "pong", "More went out than may wait for answers."
    for n in range(3 * WINDOW):
        await visit.ack(frames[n])
        if len(frames) < 3 * WINDOW:
            frames.append(await visit.hear())
    await asyncio.gather(*sending)
    assert [frame["text"] for frame in frames] == [str(n) for n in range(3 * WINDOW)]


@pytest.mark.parametrize("code", PASSING)
async def test_a_refusal_that_may_pass_holds_the_room_back_and_is_tried_again(
    client: ChatClient, server: ScriptedServer, code: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("chatclient.outbox.PAUSE", 0.0)
    visit = await server.visit()
    sending = asyncio.create_task(client.send(12, "hello"))
    frame = await visit.hear()
    await visit.say({"type": "error", "id": frame["id"], "code": code, "detail": "Later."})
    again = await visit.hear()
    assert again == {**frame, "retry": True}
    await visit.ack(again)
    await sending
    assert client.counters.refusals == 1


async def test_a_message_that_is_refused_for_good_is_an_error(client: ChatClient, server: ScriptedServer):
    visit = await server.visit()
    sending = asyncio.create_task(client.send(12, "hello"))
    frame = await visit.hear()
    await visit.say({"type": "error", "id": frame["id"], "code": "muted", "detail": "No."})
    with pytest.raises(Refused, match="muted"):
        await sending


async def test_the_tries_are_bounded(client: ChatClient, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("chatclient.outbox.PAUSE", 0.0)
    visit = await server.visit()
    sending = asyncio.create_task(client.send(12, "hello"))
    for _ in range(TRIES):
        frame = await visit.hear()
        await visit.say({"type": "error", "id": frame["id"], "code": "unavailable", "detail": "No."})
    with pytest.raises(Refused, match="unavailable"):
        await sending


async def test_the_server_s_wish_to_wait_is_longer_than_the_pause(monkeypatch: pytest.MonkeyPatch):
    class Connection:
        is_open = True

        def post(self, frame: Frame) -> None:
            """Nothing listens."""

    pauses: list[float] = []
    loop = asyncio.get_running_loop()
    outbox = Outbox(Connection(), chatclient.connection.Counters())  # type: ignore[arg-type]
    monkeypatch.setattr(loop, "call_later", lambda delay, *_: pauses.append(delay))
    sending = asyncio.ensure_future(outbox.say({"type": "send", "id": "m1", "room": 12, "text": "hello"}))
    await asyncio.sleep(0)
    outbox.answered({"type": "error", "id": "m1", "code": "rate_limited", "detail": "", "retry_after": 7})
    sending.cancel()
    assert pauses == [7]


async def test_messages_that_wait_for_a_place_end_with_the_client(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("chatclient.outbox.MAX_PENDING", 1)
    client = ChatClient(server.url, "token")
    client.start()
    sending = [asyncio.create_task(client.send(12, str(n))) for n in range(3)]
    visit = await server.visit()
    await visit.hear()
    await visit.close(4001)
    ends = await asyncio.gather(*sending, return_exceptions=True)
    assert [type(end) for end in ends] == [Ended, Ended, Ended]
    await client.close()


async def test_a_question_is_lost_with_its_connection(client: ChatClient, server: ScriptedServer):
    visit = await server.visit()
    await client.connected()
    asking = asyncio.create_task(client.ask({"type": "subscribe", "rooms": True}))
    frame = await visit.hear()
    assert frame == {"type": "subscribe", "rooms": True, "id": frame["id"]}
    await visit.close(4012)
    with pytest.raises(Lost):
        await asking


# When to come back


def test_the_wait_doubles_up_to_the_cap_and_the_jitter_is_drawn_after_it():
    backoff = Backoff(draw=lambda: 0.5)
    assert [backoff.lose(0) for _ in range(7)] == [0.5, 1, 2, 4, 8, 15, 15]


def test_the_jitter_is_full():
    assert Backoff(draw=lambda: 0.0).lose(0) == 0


def test_after_a_stable_minute_the_backoff_starts_anew():
    backoff = Backoff(draw=lambda: 1.0)
    for _ in range(3):
        backoff.lose(0)
    backoff.welcome(100)
    assert backoff.lose(159) == 8
    backoff.welcome(200)
    assert backoff.lose(260) == 1


def test_a_night_of_tries_ends_at_the_cap():
    backoff = Backoff(draw=lambda: 1.0)
    assert [backoff.lose(0) for _ in range(3000)][-1] == 30


def test_the_time_that_the_server_asked_for_is_kept_once():
    backoff = Backoff(draw=lambda: 1.0)
    backoff.ask(12.5, now=100)
    assert backoff.lose(102) == 10.5
    assert backoff.lose(120) == 2

"""The log of messages is created anew: a new epoch, nothing mixed, nothing stored lost."""

import asyncio
from typing import Any

from confluent_kafka.admin import AdminClient

from events.provisioning import create_topics
from events.topics import Topic
from tests.acceptance.chat import Chat, call, create_room
from tests.acceptance.client import ChatClient
from tests.acceptance.processes import wait_for


async def test_a_log_created_anew_while_everything_is_down_begins_a_new_epoch(chat: Chat):
    web, storing = chat.web(), chat.event_consumer()
    (token,) = chat.tokens(1).values()
    room = create_room(web.url, token)
    cursor = await say(chat, web.url, token, room, ["before 1", "before 2"])
    web.stop()
    storing.stop()
    create_anew(chat)
    storing.start()
    await asyncio.to_thread(web.start)
    await check_new_epoch(chat, web.url, token, room, cursor)


async def test_a_log_created_anew_under_running_servers_closes_sockets_and_begins_a_new_epoch(chat: Chat):
    web, storing = chat.web(), chat.event_consumer()
    (token,) = chat.tokens(1).values()
    room = create_room(web.url, token)
    cursor = await say(chat, web.url, token, room, ["before 1", "before 2"])
    async with ChatClient(web.url, token) as client:
        await client.subscribe(room)
        await asyncio.to_thread(create_anew, chat)
        assert await client.closed(deadline=60) == 4012
    await asyncio.to_thread(wait_for, storing.has_ended, "the event consumer ends, for its supervisor to start anew")
    assert "created anew" in storing.output()
    storing.start()
    await asyncio.to_thread(wait_for, web.is_ready, "the web process serves the new log by itself")
    await check_new_epoch(chat, web.url, token, room, cursor)


async def say(chat: Chat, url: str, token: str, room: int, texts: list[str]) -> str:
    """Say something, wait until it is stored, and return the last cursor."""
    async with ChatClient(url, token) as client:
        await client.subscribe(room)
        answers = [await client.say(room, text) for text in texts]
    await asyncio.to_thread(wait_for, lambda: chat.stored(room)[-len(texts) :] == texts, "they are stored")
    return str(answers[-1]["cursor"])


async def check_new_epoch(chat: Chat, url: str, token: str, room: int, cursor: str) -> None:
    """A cursor of before is told that it is void, and the history holds both epochs in order."""
    async with ChatClient(url, token) as client:
        answer = await client.subscribe(room, after=cursor)
        assert answer["recovered"] is False
        assert epoch(answer["cursor"]) == epoch(cursor) + 1
        assert client.texts(room) == []
    await say(chat, url, token, room, ["after 1", "after 2"])
    page: Any = await asyncio.to_thread(call, url, token, "GET", f"/rooms/{room}/messages")
    texts = [item["text"] for item in page["items"] if item["type"] == "message"]
    assert texts == ["before 1", "before 2", "after 1", "after 2"]
    assert [seq for (seq,) in chat.query(SEQS, room)] == [1, 2, 3, 4]


SEQS = 'SELECT seq FROM messaging_message WHERE room_id = %s AND seq IS NOT NULL ORDER BY epoch, "offset"'


def epoch(cursor: str) -> int:
    return int(cursor.split("-")[0])


def create_anew(chat: Chat) -> None:
    servers = chat.environment["KAFKA_BOOTSTRAP_SERVERS"]
    admin = AdminClient({"bootstrap.servers": servers})
    topic = Topic.MESSAGE_CREATED.value
    admin.delete_topics([topic])[topic].result(30)
    wait_for(lambda: topic not in admin.list_topics(timeout=5).topics, "the topic is gone")
    create_topics(servers, replication=1)

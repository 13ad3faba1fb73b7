"""A chat as Channels' own tutorial builds it, on channels_redis, for `benchmarks.load` to compare with.

It speaks as much of the protocol `chat.v1` as the load generator needs, and has no accounts, rights, storage or resume.
A message's place in its room comes from a counter in Redis. `PLAIN_LAYER` is `core` or `pubsub`.
"""

import asyncio
import os
from typing import Any
from uuid import uuid4

import django
from django.conf import settings

BACKENDS = {"core": "channels_redis.core.RedisChannelLayer", "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer"}
# The client's own time-out of 5 s since redis-py 8 ends receive() when nothing comes (channels_redis issue 422).
HOST = {"address": os.environ["REDIS_URL"], "socket_timeout": None}

settings.configure(
    SECRET_KEY="plain",  # noqa: S106 (nothing is signed)
    CHANNEL_LAYERS={"default": {"BACKEND": BACKENDS[os.environ["PLAIN_LAYER"]], "CONFIG": {"hosts": [HOST]}}},
)
django.setup()

from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter  # noqa: E402
from redis.asyncio import Redis  # noqa: E402

locks: dict[Any, asyncio.Lock] = {}  # by room
redis = Redis.from_url(os.environ["REDIS_URL"])


class PlainConsumer(AsyncJsonWebsocketConsumer):  # type: ignore[misc]  # Channels has no types
    async def connect(self) -> None:
        self.rooms: dict[int, int] = {}  # room → place behind which it was subscribed
        await self.accept("chat.v1")
        welcome = {"type": "welcome", "user": "", "session": uuid4().hex, "ping_interval": 60}
        await self.send_json(welcome)

    async def receive_json(self, content: dict[str, Any], **_: Any) -> None:
        room = content.get("room")
        group = f"room.{room}"
        if content["type"] == "subscribe" and isinstance(room, int):
            await self.channel_layer.group_add(group, self.channel_name)
            self.rooms[room] = int(await redis.get(f"plain:{room}") or 0)
            answer = {"type": "subscribed", "id": content["id"], "room": room, "recovered": True}
            await self.send_json({**answer, "cursor": f"0-0-{self.rooms[room]}"})
        elif content["type"] == "send":
            text = content["text"]
            # Place and sending are one act, so that the order of the messages is not this file's fault.
            async with locks.setdefault(room, asyncio.Lock()):
                place = await redis.incr(f"plain:{room}")
                message = {"id": content["id"], "room": room, "sender": sender_of(text), "text": text}
                event = {"type": "chat.message", "place": place, "message": {**message, "cursor": f"0-0-{place}"}}
                await self.channel_layer.group_send(group, event)
            ack = {"type": "ack", "id": content["id"], "room": room, "cursor": f"0-0-{place}"}
            await self.send_json({**ack, "message": content["id"]})

    async def chat_message(self, event: dict[str, Any]) -> None:
        if event["place"] > self.rooms[event["message"]["room"]]:
            await self.send_json({"type": "message", **event["message"]})

    async def disconnect(self, code: int) -> None:
        for room in getattr(self, "rooms", {}):
            await self.channel_layer.group_discard(f"room.{room}", self.channel_name)


def sender_of(text: str) -> str:
    """The name of the account that the generator has made for the sender of this text."""
    return f"load{int(text.split()[1]) + 1}"


async def ready(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ready"})


application = ProtocolTypeRouter({"http": ready, "websocket": PlainConsumer.as_asgi()})

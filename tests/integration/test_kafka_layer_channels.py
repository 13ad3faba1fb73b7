"""Channels' own consumers and worker on the channel layer."""

import asyncio
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.layers import get_channel_layer
from channels.testing import WebsocketCommunicator
from channels.worker import Worker

from tests.integration.kafka_layer_support import PATIENCE, create_config


class Echo(AsyncJsonWebsocketConsumer):  # type: ignore[misc]  # Channels has no types
    """What one says in the group, all hear."""

    groups = ["echo"]

    async def receive_json(self, content: Any, **_: Any) -> None:
        await self.channel_layer.group_send("echo", {"type": "said", "content": content})

    async def said(self, event: dict[str, Any]) -> None:
        await self.send_json(event["content"])


@pytest.fixture
def layer(settings: Any) -> Any:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "kafka_layer.KafkaChannelLayer", "CONFIG": create_config()}}
    return get_channel_layer()


async def test_websocket_consumers_talk_through_their_group(layer: Any) -> None:
    """Each hears each message once, and who has left hears nothing."""
    visitors = [WebsocketCommunicator(Echo.as_asgi(), "/") for _ in range(3)]
    for visitor in visitors:
        assert (await visitor.connect(timeout=PATIENCE))[0]
    await visitors[0].send_json_to({"n": 1})
    for visitor in visitors:
        assert await visitor.receive_json_from(timeout=PATIENCE) == {"n": 1}
    await visitors[2].disconnect(timeout=PATIENCE)
    await visitors[1].send_json_to({"n": 2})
    for visitor in visitors[:2]:
        assert await visitor.receive_json_from(timeout=PATIENCE) == {"n": 2}
        await visitor.disconnect(timeout=PATIENCE)
    await layer.close()


async def test_a_worker_handles_what_is_sent_to_its_channel(layer: Any) -> None:
    """As `manage.py runworker` does."""
    handled: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        assert scope["channel"] == "thumbnails"
        while True:
            await handled.put(await receive())

    await layer.send("thumbnails", {"type": "make", "n": 1})
    worker = Worker(application=application, channels=["thumbnails"], channel_layer=layer)
    working = asyncio.ensure_future(worker.listener("thumbnails"))
    await layer.send("thumbnails", {"type": "make", "n": 2})
    numbers = [(await asyncio.wait_for(handled.get(), PATIENCE))["n"] for _ in range(2)]
    assert numbers == [1, 2]
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    await layer.close()

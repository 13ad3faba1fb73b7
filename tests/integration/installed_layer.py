"""A program of somebody who installed the channel layer: it knows nothing of this project. Its argument is the layer's
configuration as JSON; it prints what it saw.
"""

import asyncio
import importlib.util
import json
import sys
from typing import Any

import kafka_layer


async def use(config: dict[str, Any]) -> dict[str, Any]:
    layer = kafka_layer.KafkaChannelLayer(**config)
    try:
        async with asyncio.timeout(20):
            return {
                "file": kafka_layer.__file__,
                "group": await send_to_group(layer),
                "subscription": await publish_and_subscribe(layer),
            }
    finally:
        await layer.close()


async def send_to_group(layer: kafka_layer.KafkaChannelLayer) -> dict[str, Any]:
    channel = await layer.new_channel()
    await layer.group_add("people", channel)
    await layer.group_send("people", {"type": "greeting", "to": "all"})
    return await layer.receive(channel)


async def publish_and_subscribe(layer: kafka_layer.KafkaChannelLayer) -> list[Any]:
    subscription = layer.subscription()
    await subscription.join("room.1")
    position = await layer.publish("room.1", {"text": "hello"}, id="1")
    batch = await subscription.next()
    assert isinstance(batch, kafka_layer.Batch)
    return [[record.id, dict(record.message), record.position == position] for record in batch.records]


def main() -> None:
    config, names = json.loads(sys.argv[1]), json.loads(sys.argv[2])
    seen = asyncio.run(use(config))
    seen["importable"] = [name for name in names if importlib.util.find_spec(name)]
    print(json.dumps(seen))


if __name__ == "__main__":
    main()

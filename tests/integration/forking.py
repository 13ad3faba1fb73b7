"""A process that uses the channel layer, forks, and uses it in both: `python -m tests.integration.forking CONFIG`.

It is a process of its own, as a preforking server is: pytest's has threads of other tests, whose locks a fork would
copy in whatever state they are.
"""

import json
import os
import sys

from asgiref.sync import async_to_sync

from kafka_layer import KafkaChannelLayer
from tests.integration.kafka_layer_support import read


def main(config: str) -> int:
    layer = KafkaChannelLayer(**json.loads(config))

    async def talk() -> list[int]:
        subscription = layer.subscription()
        await subscription.join("room.fork")
        await layer.publish("room.fork", {"n": 7})
        return await read(subscription, 1)

    first = async_to_sync(talk)()
    child = os.fork()
    last = async_to_sync(talk)()
    async_to_sync(layer.close)()
    if child == 0:
        os._exit(0 if last[-1] == 7 else 1)
    _, status = os.waitpid(child, 0)
    return 0 if first == [7] and last[-1] == 7 and os.waitstatus_to_exitcode(status) == 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

"""What the channel layer does about handles that librdkafka leaves cut off from a Kafka that is there."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer

from kafka_layer import reach, shared
from tests.integration.kafka_layer_support import PATIENCE, bootstrap_servers, create_config, running_layer

NOBODY = "127.0.0.1:1"


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return create_config()


def once() -> Callable[..., bool]:
    """An answer that is True the first time."""
    answers: Iterator[bool] = iter([True])
    return lambda *_: next(answers, False)


@pytest.mark.parametrize(
    ("own", "others", "cut_off"),
    [(NOBODY, None, True), (NOBODY, NOBODY, False), (None, None, False), (None, NOBODY, False)],
)
def test_a_handle_is_cut_off_when_only_others_reach_kafka(
    config: dict[str, Any], own: str | None, others: str | None, cut_off: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While Kafka is away no handle reaches it, and none is given up for that."""
    handle = Consumer({"bootstrap.servers": own or bootstrap_servers(), "group.id": "g", "log_level": 0})
    client = {"bootstrap.servers": others or bootstrap_servers(), "log_level": 0}
    if own is None or others is None:  # one of the two must be heard, and waits for its answer
        monkeypatch.setattr(reach, "TIMEOUT", 5.0)
    assert reach.is_cut_off(handle, client, config["topic"]) is cut_off
    handle.close()


async def test_a_channel_whose_reader_is_cut_off_is_read_by_another_consumer(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each message once."""
    monkeypatch.setattr(shared, "REACH_INTERVAL", 0.1)
    async with running_layer(config) as layer:
        await layer.send("work", {"n": 0})
        assert await asyncio.wait_for(layer.receive("work"), PATIENCE) == {"n": 0}
        monkeypatch.setattr(shared, "is_cut_off", once())
        receiving = asyncio.ensure_future(layer.receive("work"))
        async with asyncio.timeout(PATIENCE):
            while not layer.counters.get("reader_restarts"):
                await asyncio.wait([receiving], timeout=0.05)
        await layer.send("work", {"n": 1})
        assert await asyncio.wait_for(receiving, PATIENCE) == {"n": 1}

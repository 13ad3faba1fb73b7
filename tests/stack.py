"""A pytest plugin: tests meet the embedded services of `.data/test`, started when the first test asks for them.

It is loaded by `-p tests.stack`, so that the addresses are in the environment before Django's settings are read.
For `make soak`: TEST_DATA names another folder, and with TEST_BROKERS=3 all tests meet the Kafka cluster.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from devstack import DevStack
from devstack.cluster import KafkaCluster
from devstack.state import SERVICES

FOLDER = Path(os.environ.get("TEST_DATA") or Path(__file__).resolve().parents[1] / ".data" / "test")
ON_CLUSTER = os.environ.get("TEST_BROKERS") == "3"
CLUSTER = KafkaCluster(FOLDER / "cluster")
STACK = DevStack(FOLDER, services=SERVICES[:2] if ON_CLUSTER else SERVICES)

os.environ.update(STACK.addresses() | (CLUSTER.addresses() if ON_CLUSTER else {}))
os.environ["SECRET_KEY"] = STACK.state.secret_key
os.environ["CHAT_EMBEDDED"] = "1"


@pytest.fixture(scope="session")
def stack() -> Iterator[DevStack]:
    """The running services, with the topics of the chat."""
    with ExitStack() as life:
        life.enter_context(STACK)
        if ON_CLUSTER:
            life.enter_context(CLUSTER)
        from events.provisioning import create_topics

        create_topics(os.environ["KAFKA_BOOTSTRAP_SERVERS"], replication=3 if ON_CLUSTER else 1)
        yield STACK

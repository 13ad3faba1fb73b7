"""A pytest plugin: tests meet the embedded services of `.data/test`, started when the first test asks for them.

It is loaded by `-p tests.stack`, so that the addresses are in the environment before Django's settings are read.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack import DevStack

FOLDER = Path(__file__).resolve().parents[1] / ".data" / "test"
STACK = DevStack(FOLDER)

os.environ.update(STACK.addresses())
os.environ["SECRET_KEY"] = STACK.state.secret_key
os.environ["CHAT_EMBEDDED"] = "1"


@pytest.fixture(scope="session")
def stack() -> Iterator[DevStack]:
    """The running services, with the topics of the chat."""
    with STACK:
        from events.provisioning import create_topics

        create_topics(os.environ["KAFKA_BOOTSTRAP_SERVERS"], replication=1)
        yield STACK

from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack import DevStack
from tests.acceptance.chat import Chat
from tests.fuzzing import SEED
from tests.stack import FOLDER


def pytest_report_header() -> str:
    return f"fuzzed tests: FUZZ_SEED={SEED}"


@pytest.fixture(scope="session")
def django_db_modify_db_settings(stack: DevStack, django_db_modify_db_settings: None) -> None:
    """The services run before Django makes the test database."""


@pytest.fixture(scope="session")
def chat_stack() -> Iterator[DevStack]:
    """Services of their own for whole chats: what other tests do to theirs does not reach them."""
    with DevStack(FOLDER.with_name(f"{FOLDER.name}-chats")) as stack:
        yield stack


@pytest.fixture(scope="session")
def chat_environment(chat_stack: DevStack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a chat whose tables and topics are there."""
    environment = {
        **chat_stack.addresses(),
        "SECRET_KEY": chat_stack.state.secret_key,
        "CHAT_EMBEDDED": "1",
        # Tests write faster than people.
        "LIMIT_MESSAGES": "1000000/1",
        "LIMIT_ROOMS": "1000000/1",
        "LIMIT_ACTS": "1000000/1",
        "LIMIT_SEARCHES": "1000000/1",
        "LIMIT_REPORTS": "1000000/1",
        # All tests come from one address, and Redis keeps what earlier runs have used up.
        "LIMIT_RESETS": "1000000/1",
    }
    chat = Chat(environment, tmp_path_factory.mktemp("setup"))
    chat.manage("migrate", "--verbosity", "0")
    chat.manage("create_topics")
    return environment


@pytest.fixture
def chat(chat_environment: dict[str, str], tmp_path: Path) -> Iterator[Chat]:
    """A chat without any process yet; what a test starts is ended after it."""
    chat = Chat(chat_environment, tmp_path)
    yield chat
    chat.close()

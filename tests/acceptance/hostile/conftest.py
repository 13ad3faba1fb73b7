from collections.abc import Iterator

import pytest

from tests.acceptance.chat import Chat
from tests.acceptance.hostile.world import World


@pytest.fixture(scope="package")
def world(chat_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One for all tests of this folder: what one attack has done to it, the next one meets."""
    chat = Chat(chat_environment, tmp_path_factory.mktemp("hostile"))
    try:
        yield World(chat)
    finally:
        chat.close()

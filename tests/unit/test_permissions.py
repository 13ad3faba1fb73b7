"""The table of who may do what is complete, and the page shows it."""

import re

from messaging.api import router as messages
from messaging.visit import HANDLERS
from rooms.api import router as rooms
from tests.permissions import FRAMES, PAGE, REST, text


def test_the_page_shows_the_table() -> None:
    assert PAGE.read_text() == text(), "Run `python -m tests.permissions`, and commit docs/permissions.md."


def test_every_call_about_rooms_is_in_the_table() -> None:
    """Who adds a call says who may make it."""
    offered = {
        f"{method} {re.sub('{[^}]*}', '*', path)}"
        for router in (rooms, messages)
        for path, view in router.path_operations.items()
        for operation in view.operations
        for method in operation.methods
    }
    assert offered == {re.sub("{[^}]*}", "*", action.call.partition("?")[0]) for action in REST}


def test_every_frame_is_in_the_table() -> None:
    """Except the pong, which answers a ping and does nothing."""
    assert set(HANDLERS) == {action.call for action in FRAMES}

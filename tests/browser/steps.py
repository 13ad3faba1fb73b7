"""What people do on the page, and what they expect to see."""

from collections.abc import Callable
from contextlib import suppress
from uuid import uuid4

from playwright.sync_api import Error, Page, expect

from tests.acceptance.processes import wait_for

SignUp = Callable[[str], Page]


def create_room(page: Page, kind: str = "Public") -> str:
    name = f"Room {uuid4().hex[:6]}"
    page.get_by_role("button", name="New room", exact=True).click()
    page.get_by_label("Name").fill(name)
    page.get_by_label(kind).check()
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", name=name)).to_be_visible()
    return name


def enter(page: Page, room: str) -> None:
    page.get_by_role("button", name=room).click()
    expect(page.get_by_role("heading", name=room)).to_be_visible()


def say(page: Page, text: str) -> None:
    box = page.get_by_label("Message", exact=True)
    box.fill(text)
    box.press("Enter")


def expect_bubbles(page: Page, texts: list[str]) -> None:
    expect(page.locator(".message .bubble")).to_have_text(texts)


def reconnect(page: Page) -> None:
    """Let the page try now until it is connected: its own next try may be half a minute away."""
    button = page.get_by_role("button", name="Try now")

    def is_connected() -> bool:
        # It may try by itself in the same moment.
        with suppress(Error):
            if button.is_visible():
                button.click(timeout=500)
        return page.locator("body").get_attribute("data-connection") == "connected"

    wait_for(is_connected, "the connection")

"""The pages for the staff and for those who write programs, under the Content Security Policy."""

import re
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from tests.acceptance.chat import Chat
from tests.acceptance.processes import Web
from tests.browser.conftest import PASSWORD
from tests.browser.steps import SignUp


@pytest.fixture
def complaints(browser: Browser, server: Web) -> tuple[Page, list[str]]:
    """A page, and what the browser complains about on it, what the policy forbids included."""
    page, found = browser.new_page(), list[str]()

    def note(message: ConsoleMessage) -> None:
        # The admin has no icon, and browsers ask for one.
        if message.type == "error" and not message.location["url"].endswith("/favicon.ico"):
            found.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: found.append(str(error)))
    return page, found


def test_the_live_figures_move_and_are_drawn(
    server: Web, sign_up: SignUp, complaints: tuple[Page, list[str]], staff: str
):
    page, found = complaints
    sign_up("alice")
    page.goto(f"{server.url}/admin/login/?next=/admin/")
    page.get_by_label("User id").fill(staff)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("link", name="Live figures").click()
    figures = page.locator("#figures")
    expect(figures.locator("[data-figure=processes]")).to_have_text(re.compile(r"^[1-9]"))
    expect(figures.locator("[data-figure=connections]")).to_have_text(re.compile(r"^[1-9]"))
    expect(figures.locator("[data-figure=rate]")).to_have_text(re.compile(r"^[0-9]"))
    # Two points at least.
    expect(page.locator("polyline.connections")).to_have_attribute("points", re.compile(r"\S+ \S+"))
    assert found == []


@pytest.fixture
def staff(chat_environment: dict[str, str], tmp_path: Path) -> str:
    name = f"root-{uuid4().hex[:6]}"
    chat = Chat({**chat_environment, "DJANGO_SUPERUSER_PASSWORD": PASSWORD}, tmp_path)
    chat.manage("createsuperuser", "--noinput", "--username", name)
    return name


def test_the_documents_of_the_api_are_shown_without_anything_from_elsewhere(
    server: Web, complaints: tuple[Page, list[str]]
):
    page, found = complaints
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{server.url}/api/v1/docs")
    expect(page.get_by_role("button", name="POST /api/v1/users Sign Up")).to_be_visible()
    assert [url for url in asked if not url.startswith((server.url, "data:", "blob:"))] == []
    assert found == []

import shutil
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.acceptance.chat import Chat
from tests.acceptance.processes import Web

# As root and in containers Chromium runs without its sandbox; and it asks nobody outside for anything.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync"]  # fmt: skip
PATIENCE = 20_000  # milliseconds
PASSWORD = "correct horse battery"

expect.set_options(timeout=PATIENCE)


@pytest.fixture
def browser() -> Iterator[Browser]:
    """For one test only: while it lives, Playwright's event loop runs in this thread, where async tests want theirs."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert executable, "Install Chromium (Debian: apt install chromium); .ci/run does it by itself."
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def server(chat_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A chat with everything that `make run` starts; one for all tests here, who kills it starts it again."""
    chat = Chat(chat_environment, tmp_path_factory.mktemp("browser"))
    web = chat.web()
    chat.poller()
    chat.event_consumer()
    yield web
    chat.close()


@pytest.fixture
def sign_up(browser: Browser, server: Web) -> Iterator[Callable[[str], Page]]:
    """Opens a window of its own for a new person, signed up; errors on the page fail the test."""
    contexts, errors = [], []

    def sign_up(name: str) -> Page:
        context = browser.new_context()
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(server.url)
        page.get_by_role("button", name="New here? Make an account").click()
        page.get_by_label("User id").fill(f"{name}-{uuid4().hex[:6]}")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign up").click()
        expect(page.locator("body")).to_have_attribute("data-connection", "connected")
        return page

    yield sign_up
    for context in contexts:
        context.close()
    assert errors == []

"""The account page."""

import re
import urllib.request
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.acceptance.processes import Web, wait_for
from tests.browser.conftest import PASSWORD
from tests.browser.steps import SignUp

NEW_PASSWORD = "another fine day"


@pytest.fixture
def page(sign_up: SignUp) -> Iterator[Page]:
    """Somebody who looks at her account."""
    page = sign_up("alice")
    page.get_by_role("link", name="Account").click()
    expect(page.get_by_role("heading", name="E-mail address")).to_be_visible()
    yield page


def sign_in(page: Page, name: str, password: str) -> None:
    page.get_by_label("User id").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("body")).to_have_attribute("data-connection", "connected")


def test_a_new_password_and_what_is_wrong_with_it(page: Page):
    """The validators' words are on the page."""
    form = page.locator("#password-form")
    form.get_by_label("Present password").fill("wrong password")
    form.get_by_label("New password").fill(NEW_PASSWORD)
    form.get_by_role("button").click()
    expect(form.get_by_role("alert")).to_have_text("The password is wrong.")
    form.get_by_label("Present password").fill(PASSWORD)
    form.get_by_label("New password").fill("12345")
    form.get_by_role("button").click()
    expect(form.get_by_role("alert")).to_contain_text("too short")
    form.get_by_label("New password").fill(NEW_PASSWORD)
    form.get_by_role("button").click()
    expect(form.get_by_role("status")).to_have_text("The password is changed.")
    name = page.locator("#me").inner_text()
    page.get_by_role("button", name="Sign out everywhere").click()
    sign_in(page, name, NEW_PASSWORD)


def test_a_token_is_shown_once_and_works(page: Page, server: Web):
    form = page.locator("#token-form")
    form.get_by_role("button").click()
    expect(form.get_by_label("The token")).to_have_value(re.compile(".{40}"))
    token = form.get_by_label("The token").input_value()
    request = urllib.request.Request(f"{server.url}/api/v1/me", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=20) as response:
        assert page.locator("#me").inner_text() in response.read().decode()
    page.reload()
    expect(page.get_by_role("heading", name="Tokens for programs")).to_be_visible()
    expect(form.get_by_label("The token")).to_be_hidden()


def test_a_forgotten_password_is_replaced_by_mail(page: Page, server: Web):
    """The mail of a developer's machine is on the screen."""
    name = page.locator("#me").inner_text()
    address = f"{name}@example.org"
    form = page.locator("#email-form")
    form.get_by_label("E-mail address").fill(address)
    form.get_by_label("Password").fill(PASSWORD)
    form.get_by_role("button").click()
    expect(form.get_by_role("status")).to_have_text("The address is saved.")
    page.get_by_role("button", name="Sign out everywhere").click()
    page.get_by_role("link", name="Forgot your password?").click()
    page.get_by_label("E-mail address").fill(address)
    page.get_by_role("button", name="Send the link").click()
    expect(page.get_by_role("heading", name="Look into your mail")).to_be_visible()
    wait_for(lambda: f"To: {address}" in server.output(), "the mail is on the screen", deadline=20)
    links = re.findall(rf"{re.escape(server.url)}/password-reset/\S+/", server.output())
    page.goto(links[-1])
    page.get_by_label("New password:").fill(NEW_PASSWORD)
    page.get_by_label("New password confirmation").fill(NEW_PASSWORD)
    page.get_by_role("button", name="Set the password").click()
    page.get_by_role("link", name="Sign in").click()
    sign_in(page, name, NEW_PASSWORD)


def test_a_deactivated_account_is_told_so(page: Page):
    name = page.locator("#me").inner_text()
    form = page.locator("#deactivate-form")
    form.get_by_label("Password").fill(PASSWORD)
    form.get_by_role("button").click()
    page.get_by_label("User id").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("The account is deactivated.")

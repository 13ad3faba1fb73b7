"""The account page."""

import json
import re
import urllib.request
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.acceptance.processes import Web, wait_for
from tests.browser.conftest import PASSWORD
from tests.browser.steps import SignUp, create_room, enter, expect_bubbles, say

NEW_PASSWORD = "another fine day"


@pytest.fixture
def page(sign_up: SignUp) -> Iterator[Page]:
    """Somebody who looks at her account."""
    page = sign_up("alice")
    page.get_by_role("link", name="Account").click()
    expect(page.get_by_role("heading", name="E-mail address")).to_be_visible()
    yield page


def fill_sign_in(page: Page, name: str, password: str) -> None:
    expect(page.get_by_role("heading", name="Welcome")).to_be_visible()
    page.get_by_label("User id").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def sign_in(page: Page, name: str, password: str) -> None:
    fill_sign_in(page, name, password)
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
    fill_sign_in(page, name, PASSWORD)
    expect(page.get_by_role("alert")).to_have_text("The account is deactivated.")


def test_what_is_stored_is_downloaded(sign_up: SignUp):
    page = sign_up("alice")
    room = create_room(page)
    say(page, "Hello <b>you</b>")
    expect(page.locator(".message time")).to_have_count(1)
    page.get_by_role("link", name="Account").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download my data").click()
    document = json.loads(download.value.path().read_text())
    assert document["account"]["id"] == page.locator("#me").inner_text()
    assert [row["name"] for row in document["memberships"]] == [room]


def test_who_is_erased_is_gone_for_those_who_look(sign_up: SignUp):
    """Without a reload: the text and the name."""
    alice, bob = sign_up("alice"), sign_up("bob")
    room = create_room(bob)
    enter(alice, room)
    say(alice, "My address is 7 Main Street")
    expect_bubbles(bob, ["My address is 7 Main Street"])
    name = alice.locator("#me").inner_text()
    alice.get_by_role("link", name="Account").click()
    form = alice.locator("#erase-form")
    form.get_by_label("Password").fill(PASSWORD)
    form.get_by_label("Your user id").fill("bob")
    form.get_by_role("button").click()
    expect(form.get_by_role("alert")).to_have_text("That is not your user id.")
    form.get_by_label("Your user id").fill(name)
    form.get_by_role("button").click()
    expect(alice.get_by_role("heading", name="Welcome")).to_be_visible()
    expect(bob.locator(".message.deleted")).to_have_count(1)
    expect(bob.locator(".system", has_text=re.compile(r"erased-\d+ left"))).to_be_visible()
    bob.reload()
    expect(bob.locator(".message .sender")).to_have_text(re.compile(r"^erased-\d+$"))
    expect(bob.get_by_text("Main Street")).to_have_count(0)

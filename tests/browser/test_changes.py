"""Editing, deleting and replying on the page."""

from playwright.sync_api import Page, expect

from tests.browser.steps import SignUp, create_room, enter, expect_bubbles, say


def choose(page: Page, text: str, action: str) -> None:
    """Choose an action in the menu of the message with this text."""
    page.get_by_role("button", name=f"Actions for “{text}”").click()
    page.locator("#message-menu").get_by_role("button", name=action).click()


def test_people_edit_reply_and_delete_and_a_reload_shows_the_same(sign_up: SignUp):
    owner, bob = sign_up("alice"), sign_up("bob")
    room = create_room(owner)
    enter(bob, room)
    say(owner, "Helo")
    expect_bubbles(bob, ["Helo"])

    choose(bob, "Helo", "Reply")
    expect(bob.get_by_text("Reply to alice", exact=False)).to_be_visible()
    say(bob, "Who is Helo?")
    expect_bubbles(owner, ["Helo", "Who is Helo?"])
    choose(owner, "Helo", "Edit")
    expect(owner.get_by_label("Message", exact=True)).to_have_value("Helo")
    say(owner, "Hello")
    for page in (owner, bob):
        expect_bubbles(page, ["Hello", "Who is Helo?"])
        expect(page.locator(".quote button")).to_contain_text(": Hello")
        expect(page.locator(".message time").first).to_contain_text("edited")

    bob.get_by_role("button", name="Actions for “Hello”").click()
    expect(bob.locator("#message-menu button:visible")).to_have_text(["Reply", "Report", "Block the sender"])
    bob.keyboard.press("Escape")
    choose(owner, "Who is Helo?", "Delete")
    owner.get_by_role("button", name="Delete message").click()
    for page in (owner, bob):
        expect(page.locator(".message.deleted .bubble")).to_contain_text("This message was deleted by alice")
        page.reload()
        expect_bubbles(page, ["Hello", page.locator(".message.deleted .bubble").inner_text()])
        expect(page.locator(".message time").first).to_contain_text("edited")


def test_an_edit_can_be_made_with_the_keyboard_alone_and_the_draft_comes_back(sign_up: SignUp):
    page = sign_up("alice")
    create_room(page)
    for text in ("one", "two"):
        say(page, text)
    expect(page.locator(".message time")).to_have_count(2)
    box = page.get_by_label("Message", exact=True)
    box.fill("a draft")
    expect(page.locator(".more").last).to_have_attribute("tabindex", "0")
    page.locator("#timeline").focus()
    for key in ("Tab", "ArrowUp", "Enter", "Tab", "Enter"):
        page.keyboard.press(key)
    expect(box).to_be_focused()
    expect(box).to_have_value("one")
    page.keyboard.press("Escape")
    expect(box).to_have_value("a draft")
    choose(page, "one", "Edit")
    box.press("End")
    box.press_sequentially(" more")
    box.press("Enter")
    expect_bubbles(page, ["one more", "two"])
    expect(box).to_have_value("a draft")


def test_a_quote_leads_to_its_message_also_when_that_is_further_back(sign_up: SignUp):
    page = sign_up("alice")
    create_room(page)
    say(page, "the first")
    expect(page.locator(".message time")).to_have_count(1)
    for n in range(100):
        say(page, f"message {n}")
    expect(page.locator(".message time")).to_have_count(101)
    choose(page, "the first", "Reply")
    say(page, "the reply")
    expect(page.locator(".quote button")).to_contain_text("the first")
    page.reload()
    quote = page.locator(".quote button")
    expect(quote).to_have_text("an earlier message")
    quote.click()
    expect(page.locator(".message:focus .bubble")).to_have_text("the first")
    expect(page.locator(".message:focus")).to_be_in_viewport()
    expect(quote).to_contain_text("the first")

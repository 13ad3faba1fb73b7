from playwright.sync_api import Page, expect

from tests.browser.steps import SignUp, create_room, enter, expect_bubbles, say


def badge(page: Page, room: str, count: int) -> None:
    expect(page.get_by_role("button", name=room).locator(".badge")).to_have_text(f"{count} unread")


def test_what_is_new_has_a_badge_on_every_device_until_it_is_read_on_one(sign_up: SignUp):
    alice, bob = sign_up("alice"), sign_up("bob")
    room = create_room(alice)
    enter(bob, room)
    say(alice, "seen")
    expect_bubbles(bob, ["seen"])
    phone = bob.context.new_page()
    phone.goto(bob.url.partition("#")[0])
    create_room(bob)
    say(alice, "one")
    say(alice, "two")
    for page in (bob, phone):
        badge(page, room, 2)
        expect(page).to_have_title("(2) Chat")
        expect(page.get_by_role("button", name=room).locator(".detail")).to_contain_text("two")
    enter(bob, room)
    expect_bubbles(bob, ["seen", "one", "two"])
    expect(bob.locator(".system.new + .message")).to_contain_text("one")
    for page in (bob, phone):
        expect(page.get_by_role("button", name=room).locator(".badge")).to_be_hidden()
        expect(page).to_have_title("Chat")
    bob.reload()
    expect_bubbles(bob, ["seen", "one", "two"])
    expect(bob.locator(".system.new")).to_have_count(0)

from uuid import uuid4

from playwright.sync_api import expect

from tests.acceptance.processes import wait_for
from tests.browser.steps import SignUp, create_room, enter, say


def test_a_message_is_found_and_opened_where_it_was_said(sign_up: SignUp):
    alice, bob = sign_up("alice"), sign_up("bob")
    room, needle = create_room(alice), f"needle{uuid4().hex[:8]}"
    for text in (f"the <b>{needle}</b> 東京タワー", *(f"hay {number}" for number in range(120)), "the newest"):
        say(alice, text)
    expect(alice.locator(".message .bubble").last).to_have_text("the newest")
    expect(alice.locator(".message.pending")).to_have_count(0)
    field = bob.get_by_label("Search rooms and messages")
    found = bob.locator("#found-messages button")

    def is_found() -> int:
        field.fill("")
        # It is asked when nothing was typed for a while.
        with bob.expect_response("**/search?*"):
            field.fill(needle.upper())
        expect(bob.locator("#found-status")).not_to_have_text("Searching …")
        return found.count()

    # Storing may be a moment behind; asking again is what a person would do.
    wait_for(is_found, "the stored message")
    expect(found).to_have_count(1)
    expect(found).to_contain_text(f"the <b>{needle}</b> 東京タワー")
    expect(found.locator("mark")).to_have_text(needle)
    field.fill(f"タワー {needle}")
    expect(found.locator("mark")).to_have_text([needle, "タワー"])
    found.click()
    expect(bob.get_by_role("heading", name=room)).to_be_visible()
    target = bob.locator(".message", has_text=needle)
    expect(target).to_be_focused()
    expect(target).to_be_in_viewport()
    newest = bob.locator(".message", has_text="the newest")
    expect(newest).to_have_count(0)
    bob.get_by_role("button", name="To the newest messages").click()
    expect(newest).to_be_in_viewport()
    say(alice, "live again")
    expect(bob.locator(".message .bubble").last).to_have_text("live again")
    # By scrolling, too.
    found.click()
    expect(target).to_be_in_viewport()

    def is_at_the_end() -> int:
        bob.locator("#timeline").evaluate("box => { box.scrollTop = box.scrollHeight }")
        return bob.locator(".message", has_text="live again").count()

    wait_for(is_at_the_end, "the newest message")
    say(alice, "and live")
    expect(bob.locator(".message .bubble").last).to_have_text("and live")
    field.fill("nobodysaidthis")
    expect(bob.locator("#found-status")).to_have_text("No message says that.")
    field.fill("")
    expect(bob.locator("#found")).to_be_hidden()
    enter(bob, room)

from playwright.sync_api import expect

from tests.browser.steps import SignUp, create_room, enter, say


def test_others_see_who_is_typing_until_it_is_said(sign_up: SignUp):
    alice, bob = sign_up("alice"), sign_up("bob")
    room = create_room(alice)
    enter(bob, room)
    say(bob, "hello")
    expect(alice.locator(".message .bubble")).to_have_text(["hello"])
    alice.get_by_label("Message", exact=True).press_sequentially("I am ")
    expect(bob.locator("#typing")).to_have_text(f"{alice.locator('#me').text_content()} is typing…")
    alice.get_by_label("Message", exact=True).press("Enter")
    expect(bob.locator("#typing")).to_be_empty()
    expect(alice.locator("#typing")).to_be_empty()

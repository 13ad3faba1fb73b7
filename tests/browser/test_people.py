from playwright.sync_api import Route, expect

from tests.acceptance.processes import Web, wait_for
from tests.browser.steps import SignUp, create_room, enter, expect_bubbles, reconnect, say


def test_two_people_sign_up_meet_in_a_new_room_and_talk(sign_up: SignUp):
    alice, bob = sign_up("alice"), sign_up("bob")
    room = create_room(alice)
    enter(bob, room)  # it has appeared without a reload
    expect(alice.locator(".system", has_text="joined the room")).to_be_visible()
    say(alice, "Hello Bob")
    expect_bubbles(bob, ["Hello Bob"])
    say(bob, "Hello <b>Alice</b>\n  안녕")
    expect_bubbles(alice, ["Hello Bob", "Hello <b>Alice</b>\n  안녕"])
    expect(alice.locator(".message.own .bubble")).to_have_text(["Hello Bob"])
    expect(bob.locator(".message.own .bubble")).to_have_text(["Hello <b>Alice</b>\n  안녕"])


def test_messages_are_there_again_after_a_reload(sign_up: SignUp):
    page = sign_up("alice")
    room = create_room(page)
    for n in range(3):
        say(page, f"message {n}")
    expect(page.locator(".message time")).to_have_count(3)
    page.reload()
    enter(page, room)
    expect_bubbles(page, ["message 0", "message 1", "message 2"])


def test_older_history_appears_when_one_scrolls_up(sign_up: SignUp):
    page = sign_up("alice")
    room = create_room(page)
    texts = [f"message {n}" for n in range(70)]
    for text in texts:
        say(page, text)
    expect(page.locator(".message time")).to_have_count(70)
    page.reload()
    enter(page, room)
    expect(page.locator(".message").first).to_be_visible()
    page.locator("#timeline").evaluate("box => { box.scrollTop = 0 }")
    expect_bubbles(page, texts)


def test_nothing_is_sent_while_an_input_method_composes(sign_up: SignUp):
    page = sign_up("alice")
    create_room(page)
    box = page.get_by_label("Message", exact=True)
    box.focus()
    devtools = page.context.new_cdp_session(page)
    devtools.send("Input.imeSetComposition", {"text": "안녕", "selectionStart": 2, "selectionEnd": 2})
    box.dispatch_event("keydown", {"key": "Enter", "isComposing": True, "keyCode": 229, "bubbles": True})
    expect(box).to_have_value("안녕")
    devtools.send("Input.insertText", {"text": "안녕"})
    box.press("Enter")
    expect_bubbles(page, ["안녕"])


def test_what_is_written_while_the_server_is_down_is_sent_once_when_it_is_back(sign_up: SignUp, server: Web):
    alice, bob = sign_up("alice"), sign_up("bob")
    room = create_room(alice)
    enter(bob, room)
    say(alice, "before")
    expect_bubbles(bob, ["before"])
    server.kill()
    try:
        expect(alice.locator("body")).not_to_have_attribute("data-connection", "connected")
        say(alice, "meanwhile")
        expect(alice.locator(".message.pending .bubble")).to_have_text(["meanwhile"])
    finally:
        server.start()
    for page in (alice, bob):
        reconnect(page)
    expect_bubbles(bob, ["before", "meanwhile"])
    expect_bubbles(alice, ["before", "meanwhile"])
    expect(alice.locator(".message.pending")).to_have_count(0)


def test_a_wrong_password_is_told_in_words(sign_up: SignUp):
    page = sign_up("alice")
    name = page.locator("#me").inner_text()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("User id").fill(name.upper())
    page.get_by_label("Password").fill("not the password")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("The id or the password is wrong.")


def test_what_is_written_before_the_room_is_there_is_sent_when_it_is(sign_up: SignUp):
    """Somebody opens a room for the first time, and types faster than its history comes."""
    alice, bob = sign_up("alice"), sign_up("bob")
    room = create_room(alice)
    held: list[Route] = []
    bob.route("**/messages?limit=50", lambda route: held.append(route))
    enter(bob, room)
    say(bob, "early")
    expect(bob.locator(".message.pending .bubble")).to_have_text(["early"])
    wait_for(lambda: bob.wait_for_timeout(50) or held, "the question for the history")
    held[0].continue_()
    expect_bubbles(alice, ["early"])
    expect_bubbles(bob, ["early"])
    expect(bob.locator(".message.pending, .message.failed")).to_have_count(0)


def test_the_room_s_head_says_who_is_online(sign_up: SignUp):
    """Kept up to date as people come and go."""
    alice, bob = sign_up("alice"), sign_up("bob")
    room = create_room(alice)
    expect(alice.get_by_role("button", name="1 online")).to_be_visible()
    enter(bob, room)
    online = alice.get_by_role("button", name="2 online")
    online.click()
    names = [page.locator("#me").inner_text() for page in (alice, bob)]
    expect(alice.locator("#people-list .name")).to_have_text(sorted(names))
    bob.get_by_role("button", name="Sign out").click()
    expect(alice.locator("#people-list .name")).to_have_text(names[:1])
    expect(alice.locator(".system", has_text=f"{names[1]} left")).to_be_visible()

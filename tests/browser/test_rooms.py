from playwright.sync_api import expect

from tests.browser.steps import SignUp, create_room, enter, expect_bubbles, say


def test_a_reload_and_the_back_button_keep_the_place(sign_up: SignUp):
    page = sign_up("alice")
    first = create_room(page)
    say(page, "here")
    expect(page.locator(".message time")).to_have_count(1)
    second = create_room(page)
    page.go_back()
    expect(page.get_by_role("heading", name=first)).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name=first)).to_be_visible()
    expect_bubbles(page, ["here"])
    page.go_forward()
    expect(page.get_by_role("heading", name=second)).to_be_visible()


def test_new_messages_do_not_move_who_reads_further_up(sign_up: SignUp):
    alice, bob = sign_up("alice"), sign_up("bob")
    room = create_room(alice)
    enter(bob, room)
    say(alice, "line\n" * 80)
    expect(bob.locator(".message time")).to_have_count(1)
    bob.locator("#timeline").evaluate("box => { box.scrollTop = 400 }")
    say(alice, "new")
    pill = bob.get_by_role("button", name="1 new message")
    expect(pill).to_be_visible()
    expect(bob).to_have_title("(1) Chat")
    assert bob.locator("#timeline").evaluate("box => box.scrollTop") == 400
    pill.click()
    expect(pill).to_be_hidden()
    expect(bob).to_have_title("Chat")
    expect(bob.locator(".message .bubble").last).to_be_in_viewport()


def test_the_focus_stays_in_the_list_while_rooms_appear(sign_up: SignUp):
    alice, bob = sign_up("alice"), sign_up("bob")
    room = create_room(alice)
    row = bob.get_by_role("button", name=room)
    row.focus()
    another = create_room(alice)
    expect(bob.get_by_role("button", name=another)).to_be_visible()
    expect(row).to_be_focused()
    bob.keyboard.press("Enter")
    expect(bob.get_by_role("heading", name=room)).to_be_visible()


def test_a_draft_waits_in_its_room(sign_up: SignUp):
    page = sign_up("alice")
    first = create_room(page)
    box = page.get_by_label("Message", exact=True)
    box.fill("half a thought")
    create_room(page)
    expect(box).to_have_value("")
    enter(page, first)
    expect(box).to_have_value("half a thought")


def test_escape_closes_the_dialog_and_gives_the_focus_back(sign_up: SignUp):
    page = sign_up("alice")
    page.get_by_role("button", name="New room", exact=True).click()
    expect(page.get_by_label("Name")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.get_by_role("button", name="New room", exact=True)).to_be_focused()

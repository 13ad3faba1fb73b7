from playwright.sync_api import Page, expect

from tests.browser.steps import SignUp, create_room, expect_bubbles, say

KEYDOWN = """(box, { isComposing, keyCode }) => {
    const event = new KeyboardEvent("keydown", { key: "Enter", isComposing, keyCode, bubbles: true, cancelable: true });
    return box.dispatchEvent(event);
}"""


def compose(page: Page, text: str) -> None:
    """Type with an input method, and do not end it yet."""
    devtools = page.context.new_cdp_session(page)
    page.get_by_label("Message", exact=True).focus()
    devtools.send("Input.imeSetComposition", {"text": text, "selectionStart": len(text), "selectionEnd": len(text)})


def press_enter(page: Page, *, composing: bool, key_code: int) -> None:
    """As an input method passes it on; the page is to leave it alone."""
    box = page.get_by_label("Message", exact=True)
    untouched = box.evaluate(KEYDOWN, {"isComposing": composing, "keyCode": key_code})
    assert untouched, "The page took the Enter that ends a composition."


def test_enter_within_a_composition_sends_nothing(sign_up: SignUp):
    page = sign_up("alice")
    create_room(page)
    compose(page, "안녕")
    press_enter(page, composing=True, key_code=229)
    expect(page.get_by_label("Message", exact=True)).to_have_value("안녕")
    page.context.new_cdp_session(page).send("Input.insertText", {"text": "안녕"})
    page.get_by_label("Message", exact=True).press("Enter")
    expect(page.locator(".message time")).to_have_count(1)
    expect_bubbles(page, ["안녕"])


def test_enter_after_compositionend_as_in_safari_sends_nothing(sign_up: SignUp):
    page = sign_up("alice")
    create_room(page)
    box = page.get_by_label("Message", exact=True)
    box.fill("日本")
    press_enter(page, composing=False, key_code=229)
    expect(box).to_have_value("日本")
    box.press("Enter")
    expect_bubbles(page, ["日本"])


def test_shift_and_enter_break_a_line(sign_up: SignUp):
    page = sign_up("alice")
    create_room(page)
    box = page.get_by_label("Message", exact=True)
    box.press_sequentially("one")
    box.press("Shift+Enter")
    box.press_sequentially("  two")
    box.press("Enter")
    expect(page.locator(".message time")).to_have_count(1)
    assert page.locator(".message .bubble").inner_text() == "one\n  two"


def test_a_text_that_is_too_long_is_kept_and_told(sign_up: SignUp):
    page = sign_up("alice")
    create_room(page)
    say(page, "🙂" * 4001)
    expect(page.get_by_text("1 too many characters")).to_be_visible()
    say(page, "🙂" * 4000)
    expect(page.locator(".message time")).to_have_count(1)

"""Leading a room on the page: roles, mutes, removals, bans, reports, blocks and direct rooms."""

from playwright.sync_api import Page, expect

from tests.acceptance.processes import wait_for
from tests.browser.steps import SignUp, create_room, enter, expect_bubbles, say


def name_of(page: Page) -> str:
    return page.locator("#me").inner_text()


def open_panel(page: Page) -> None:
    page.get_by_role("button", name="Members", exact=True).click()


def act(page: Page, person: str, action: str, *, confirm: str | None = None) -> None:
    """Choose an action for a member in the open panel."""
    page.locator("#panel-members").get_by_role("button", name=f"Actions for {person}").click()
    page.locator("#member-menu").get_by_role("button", name=action, exact=True).click()
    if confirm:
        page.locator("#confirm-dialog").get_by_role("button", name=confirm, exact=True).click()


def report(page: Page, message: str, reason: str) -> None:
    """Report a message that was said just now: the rooms' moderators read what is stored, which may be a moment
    behind."""

    def is_taken() -> bool:
        page.get_by_role("button", name=f"Actions for “{message}").click()
        page.get_by_role("button", name="Report").click()
        page.get_by_label("Reason").fill(reason)
        with page.expect_response("**/report") as answer:
            page.locator("#confirm-dialog").get_by_role("button", name="Report").click()
        return answer.value.ok

    wait_for(is_taken, "the report is taken")
    expect(page.get_by_text("The message was reported.")).to_be_visible()


def said_until_refused(page: Page, text: str) -> list[str]:
    """Say something again and again until it is refused; all that was said."""
    said: list[str] = []

    def is_refused() -> int:
        said.append(f"{text} {len(said):03}")
        say(page, said[-1])
        expect(page.locator(".message:has(time), .message.failed", has_text=said[-1])).to_have_count(1)
        return page.locator(".message.failed").count()

    wait_for(is_refused, "a refusal")
    return said


def said_until_hidden(page: Page, other: Page) -> list[str]:
    """Let two speak in turn until the page shows its owner's message without the other's before it; all that was
    said."""
    said: list[str] = []

    def is_hidden() -> bool:
        number = f"{len(said) // 2:03}"
        for speaker, text in ((other, f"hidden {number}"), (page, f"mark {number}")):
            said.append(text)
            say(speaker, text)
            # Only what has come from the log has a time, and it comes in the log's order.
            expect(speaker.locator(".message:has(time)", has_text=text)).to_have_count(1)
        return page.locator(".message", has_text=f"hidden {number}").count() == 0

    wait_for(is_hidden, "what is said is hidden")
    return said


def marks(page: Page, person: str) -> object:
    return page.locator("#panel-members .member", has_text=person).locator(".muted")


def test_an_owner_gives_a_role_mutes_bans_and_lifts(sign_up: SignUp):
    alice, bob = sign_up("alice"), sign_up("bob")
    room, name = create_room(alice), name_of(bob)
    enter(bob, room)
    say(bob, "hello")
    expect_bubbles(alice, ["hello"])

    open_panel(alice)
    act(alice, name, "Make moderator")
    expect(marks(alice, name)).to_have_text("moderator")
    open_panel(bob)
    expect(bob.get_by_role("button", name="Rename")).to_be_visible()
    bob.get_by_role("button", name="Close").click()
    act(alice, name, "Make member")
    expect(marks(alice, name)).to_have_text("")
    act(alice, name, "Mute for an hour")
    expect(marks(alice, name)).to_contain_text("muted until")
    said = said_until_refused(bob, "still here?")
    expect(bob.locator(".message.failed")).to_contain_text("You are muted in this room.")
    act(alice, name, "Unmute")
    expect(marks(alice, name)).to_have_text("")

    act(alice, name, "Ban for good", confirm="Ban")
    expect(bob.locator("#news")).to_have_text("You are banned from the room.")
    expect(alice.locator("#panel-bans .member")).to_contain_text("for good")
    bob.get_by_role("button", name=room).click()
    expect(bob.locator(".system.warning")).to_contain_text("You are banned from this room.")
    alice.get_by_role("button", name=f"Lift the ban of {name}").click()
    expect(alice.locator("#panel-bans .member")).to_have_count(0)
    bob.reload()
    expect_bubbles(bob, ["hello", *said])


def test_a_room_is_handed_over_left_and_deleted(sign_up: SignUp):
    alice, bob = sign_up("alice"), sign_up("bob")
    room = create_room(alice)
    enter(bob, room)
    open_panel(alice)
    act(alice, name_of(bob), "Hand the room over", confirm="Hand over")
    expect(marks(alice, name_of(bob))).to_have_text("owner")
    expect(alice.get_by_role("button", name="Delete room")).to_be_hidden()
    alice.get_by_role("button", name="Leave room").click()
    alice.locator("#confirm-dialog").get_by_role("button", name="Leave").click()
    expect(alice.locator("#news")).to_have_text("You have left the room.")
    open_panel(bob)
    bob.get_by_label("Title of the room").fill("Hall of bob")
    bob.get_by_role("button", name="Rename").click()
    expect(bob.locator("#room-name")).to_have_text("Hall of bob")
    bob.get_by_role("button", name="Delete room").click()
    bob.locator("#confirm-dialog").get_by_role("button", name="Delete room").click()
    expect(bob.locator("#news")).to_have_text("The room was deleted.")


def test_two_people_talk_in_a_direct_room_until_one_blocks_the_other(sign_up: SignUp):
    alice, bob = sign_up("alice"), sign_up("bob")
    room, name = create_room(alice), name_of(bob)
    enter(bob, room)
    open_panel(alice)
    act(alice, name, "Message")
    expect(alice.locator("#room-name")).to_have_text(name)
    say(alice, "just you")
    enter(bob, name_of(alice))
    expect_bubbles(bob, ["just you"])
    say(bob, "rude")
    expect_bubbles(alice, ["just you", "rude"])

    report(alice, "rude", "rude indeed")
    alice.get_by_role("button", name="Actions for “rude”").click()
    alice.get_by_role("button", name="Block the sender").click()
    alice.locator("#confirm-dialog").get_by_role("button", name="Block").click()
    expect_bubbles(alice, ["just you"])
    said = said_until_hidden(alice, bob)
    expect_bubbles(bob, ["just you", "rude", *said])
    open_panel(alice)
    expect(marks(alice, name)).to_have_text("blocked")
    expect(alice.locator(".message", has_text=said[-2])).to_have_count(0)
    act(alice, name, "Unblock")
    expect_bubbles(alice, ["just you", "rude", *said])


def test_those_who_lead_a_room_see_reports_and_add_people(sign_up: SignUp):
    alice, bob = sign_up("alice"), sign_up("bob")
    den = create_room(alice, "Private")
    open_panel(alice)
    for person, answer in (("nobody-at-all", "not there"), (name_of(bob), None)):
        alice.get_by_label("Whom to add").fill(person)
        alice.get_by_role("button", name="Add").click()
        if answer:
            expect(alice.locator("#panel-error")).to_contain_text(answer)
    expect(marks(alice, name_of(bob))).to_have_count(1)
    alice.get_by_role("button", name="Close").click()
    enter(bob, den)
    say(alice, "look at <b>this</b>")
    report(bob, "look", "markup")
    open_panel(alice)
    expect(alice.locator("#panel-reports .member")).to_contain_text("“look at <b>this</b>” — markup")

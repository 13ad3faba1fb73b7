import json
import re
from contextlib import suppress

from playwright.sync_api import Page, Route, expect

from tests.acceptance.processes import wait_for
from tests.browser.steps import SignUp, create_room, enter, expect_bubbles, reconnect, say
from tests.browser.wire import Wire

GAP = "Some messages may be missing above; reloaded from the history."


def expect_connection(page: Page, state: str) -> None:
    expect(page.locator("body")).to_have_attribute("data-connection", state)


def test_what_is_written_while_the_connection_is_cut_is_pending_and_then_sent_once(sign_up: SignUp):
    alice, bob = sign_up("alice"), sign_up("bob")
    wire = Wire(alice)
    room = create_room(alice)
    enter(bob, room)
    wire.down = True
    wire.cut()
    expect(alice.get_by_text("Reconnecting in")).to_be_visible()
    say(alice, "one")
    say(alice, "two")
    expect(alice.locator(".message.pending .bubble")).to_have_text(["one", "two"])
    say(bob, "meanwhile")
    expect_bubbles(bob, ["meanwhile"])
    wire.down = False
    reconnect(alice)
    expect_bubbles(bob, ["meanwhile", "one", "two"])
    expect_bubbles(alice, ["meanwhile", "one", "two"])
    expect(alice.locator(".message.pending")).to_have_count(0)
    assert [frame["text"] for frame in wire.sends()] == ["one", "two"]


def test_a_message_whose_acknowledgement_is_lost_is_sent_again_and_shown_once(sign_up: SignUp):
    alice, bob = sign_up("alice"), sign_up("bob")
    wire = Wire(alice)
    room = create_room(alice)
    enter(bob, room)
    wire.drop_next_ack = True
    say(alice, "only once")
    expect(alice.locator(".message time")).to_have_count(1)
    say(alice, "behind it")
    expect_bubbles(bob, ["only once", "behind it"])
    expect_bubbles(alice, ["only once", "behind it"])
    first, again = [frame for frame in wire.sends() if frame["text"] == "only once"]
    assert again == {**first, "retry": True}
    # No acknowledged message stays in the outbox.
    alice.wait_for_function("sessionStorage.length === 0")


def test_an_offline_browser_waits_and_comes_back_with_the_network(sign_up: SignUp):
    page = sign_up("alice")
    wire = Wire(page)
    create_room(page)
    page.context.set_offline(True)
    wire.cut()
    expect_connection(page, "offline")
    say(page, "later")
    page.context.set_offline(False)
    expect_connection(page, "connected")
    expect(page.locator(".message time")).to_have_count(1)
    expect_bubbles(page, ["later"])


def test_a_gap_that_cannot_be_filled_is_told_and_filled_from_the_history(sign_up: SignUp):
    alice, bob = sign_up("alice"), sign_up("bob")
    wire = Wire(alice)
    room = create_room(alice)
    enter(bob, room)
    say(bob, "before")
    expect_bubbles(alice, ["before"])
    wire.denied_recoveries = 1
    wire.cut()
    expect(alice.locator(".system.warning")).to_have_text(GAP)
    say(bob, "after")
    expect_bubbles(alice, ["before", "after"])


def test_a_gap_that_cannot_be_closed_at_all_hides_nothing_of_what_follows(sign_up: SignUp):
    alice, bob = sign_up("alice"), sign_up("bob")
    wire = Wire(alice)
    room = create_room(alice)
    enter(bob, room)
    say(bob, "before")
    expect_bubbles(alice, ["before"])
    wire.denied_recoveries = 2  # after the history was read, too
    wire.cut()
    expect(alice.locator(".system.warning")).to_have_text(GAP)
    say(bob, "after")
    expect_bubbles(alice, ["before", "after"])
    wire.cut()
    expect_connection(alice, "connected")
    say(bob, "in the end")
    expect_bubbles(alice, ["before", "after", "in the end"])
    resumes = [frame for frame in wire.sent if frame["type"] == "subscribe" and "room" in frame]
    assert len(resumes) <= 5, "The page subscribes in a tight loop."


def test_late_word_of_a_removal_leads_nobody_out_of_a_room_that_is_being_entered(sign_up: SignUp):
    """The page may have been loaded anew since: the row of a change is told up to a second behind its event."""
    page, bob = sign_up("alice"), sign_up("bob")
    wire = Wire(page)
    enter(bob, create_room(page))
    say(page, "before")
    expect_bubbles(page, ["before"])
    room = int(page.evaluate("location.hash").rsplit("/", 1)[1])
    removed = {"type": "removed", "room": room, "reason": "banned"}

    def read_history(route: Route) -> None:
        wire.tell(removed)
        route.continue_()

    page.route("**/messages?*", read_history)
    wire.before_subscribed = [removed]
    page.reload()
    expect_bubbles(page, ["before"])
    say(bob, "after")
    expect_bubbles(page, ["before", "after"])
    assert wire.before_subscribed == []
    wire.tell(removed)
    expect(page.locator("#news")).to_have_text("You are banned from the room.")


def test_a_private_room_that_one_was_removed_from_on_the_way_in_leaves_the_list(sign_up: SignUp):
    page = sign_up("alice")
    wire = Wire(page)
    row = page.get_by_role("button", name=create_room(page, "Private"))
    expect(row).to_be_visible()
    room = int(page.evaluate("location.hash").rsplit("/", 1)[1])

    def is_hidden() -> bool:
        wire.before_subscribed = [{"type": "removed", "room": room, "reason": "kicked"}]
        wire.cut()
        wait_for(lambda: page.wait_for_timeout(50) or not wire.before_subscribed, "the word of the removal")
        with suppress(AssertionError):
            expect(row).to_be_hidden(timeout=2_000)
            return True
        return False

    # Word of the room's creation may come behind that, and the room is there again.
    wait_for(is_hidden, "a list without the room")


def test_a_room_that_cannot_be_shown_at_the_moment_is_shown_a_little_later(sign_up: SignUp):
    page = sign_up("alice")
    room = create_room(page)
    busy = json.dumps({"code": "unavailable", "detail": "Busy."})
    page.route(re.compile(r"/rooms/\d+$"), lambda route: route.fulfill(status=503, body=busy), times=1)
    page.route("**/rooms?*", lambda route: route.fulfill(status=503, body=busy), times=1)
    page.reload()
    expect(page.locator("#news")).to_contain_text("at the moment")
    expect(page.get_by_role("heading", name=room)).to_be_visible()


def test_a_refused_message_says_why_and_can_be_sent_again_or_discarded(sign_up: SignUp):
    page = sign_up("alice")
    wire = Wire(page)
    create_room(page)
    wire.refusals = ["muted", "muted"]
    say(page, "first")
    say(page, "second")
    expect(page.locator(".message.failed")).to_have_count(2)
    expect(page.locator(".message.failed").first).to_contain_text("Not sent. You are muted in this room.")
    page.get_by_role("button", name="Discard").first.click()
    page.get_by_role("button", name="Retry").click()
    expect(page.locator(".message time")).to_have_count(1)
    expect_bubbles(page, ["second"])


def test_what_the_server_cannot_do_at_the_moment_is_tried_again_by_itself(sign_up: SignUp):
    page = sign_up("alice")
    wire = Wire(page)
    create_room(page)
    wire.refusals = ["unknown"]
    say(page, "stubborn")
    expect(page.locator(".message time")).to_have_count(1)
    assert [frame.get("retry") for frame in wire.sends()] == [None, True]


def test_signing_out_everywhere_shows_the_sign_in_form_here(sign_up: SignUp):
    page = sign_up("alice")
    Wire(page)
    expect_connection(page, "connected")
    page.evaluate(
        """async () => {
            const { csrf_token } = await (await fetch("/api/v1/session")).json();
            await fetch("/api/v1/sessions", { method: "DELETE", headers: { "X-CSRFToken": csrf_token } });
        }"""
    )
    expect(page.get_by_role("heading", name="Welcome")).to_be_visible()

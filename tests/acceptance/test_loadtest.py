"""`manage.py loadtest` as a person runs it, against two real servers."""

from tests.acceptance.chat import Chat


def test_a_small_load_over_two_servers_and_two_rooms_is_without_fault(chat: Chat):
    one, two = chat.web("one"), chat.web("two")
    plan = (
        "--max-late",
        "100",
        "--max-lag",
        "5000",
        "--users",
        "6",
        "--rooms",
        "2",
        "--ramp",
        "1",
        "--seconds",
        "2",
        "--rate",
        "2",
    )
    said = chat.manage("loadtest", *plan, "--url", one.url, "--url", two.url)
    assert "lost 0, twice 0, out of order 0, foreign 0, unacknowledged 0, gaps 0, errors 0" in said
    assert "Every message reached everybody once and in order." in said

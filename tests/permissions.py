"""Who may do what: the one table. `tests/acceptance/test_permissions.py` tries every cell of it on a running server,
and `python -m tests.permissions` writes it down as docs/permissions.md.

Each action has one line for each kind of room, with the answers in the order of PEOPLE (in a direct room: of BOTH).
`ok` is any success, everything else an error code. Who is not signed in gets `unauthenticated`, always.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[1] / "docs" / "permissions.md"

PEOPLE = ("owner", "moderator", "member", "muted", "banned", "stranger")
BOTH = ("member", "stranger")
KINDS = {"public": PEOPLE, "private": PEOPLE, "direct": BOTH}


@dataclass(frozen=True)
class Action:
    """`call`: a REST call, or the type of a frame. In it and in `body` stand `{room}`, `{own}` and `{message}` (what
    oneself and what another member has said), `{cursor}`, a place in its log, and people: `{other}` is a member,
    `{second}` another moderator, `{leader}` the owner, `{outsider}` no member, `{barred}` somebody who is banned."""

    name: str
    call: str
    public: str
    private: str
    direct: str
    body: Mapping[str, Any] = field(default_factory=dict)

    def answers(self, kind: str) -> dict[str, str]:
        """Person → the expected answer."""
        people, codes = KINDS[kind], str(getattr(self, kind)).split()
        assert len(people) == len(codes), f"{self.name}, {kind}: give an answer for each of {people}."
        return dict(zip(people, codes, strict=True))


EVERYBODY = "ok ok ok ok ok ok"
LEADERS = "ok ok forbidden forbidden forbidden forbidden"
LEADERS_UNSEEN = "ok ok forbidden forbidden not_found not_found"
OWNER = "ok forbidden forbidden forbidden forbidden forbidden"
OWNER_UNSEEN = "ok forbidden forbidden forbidden not_found not_found"
NOBODY = "forbidden forbidden forbidden forbidden forbidden forbidden"
NOBODY_UNSEEN = "forbidden forbidden forbidden forbidden not_found not_found"
READERS = "ok ok ok ok banned ok"
MEMBERS = "ok ok ok ok not_found not_found"
SPEAKERS = "ok ok ok muted banned not_member"
SPEAKERS_UNSEEN = "ok ok ok muted not_found not_found"
MARKERS = "ok ok ok ok banned not_member"
PAIR = "ok not_found"
NO_PAIR = "forbidden not_found"
SOON = "2099-01-01T00:00:00Z"
ID = "6f1d1f5e-2f5b-4a53-9f0a-9a5b0c7f6c01"

REST = [
    Action("see the room list", "GET /rooms", EVERYBODY, EVERYBODY, "ok ok"),
    Action("see a room in the list", "GET /rooms/{room}", EVERYBODY, MEMBERS, PAIR),
    Action("read the history", "GET /rooms/{room}/messages", READERS, MEMBERS, PAIR),
    Action("see the members", "GET /rooms/{room}/members", READERS, MEMBERS, PAIR),
    Action("join", "PUT /rooms/{room}/membership", READERS, MEMBERS, PAIR),
    Action(
        "leave", "DELETE /rooms/{room}/membership",
        "conflict ok ok ok ok ok", "conflict ok ok ok ok ok", "forbidden ok",
    ),
    Action(
        "say something", "POST /rooms/{room}/messages", SPEAKERS, SPEAKERS_UNSEEN, PAIR,
        {"id": ID, "text": "hello"},
    ),
    Action(
        "report a message", "POST /rooms/{room}/messages/{message}/report", READERS, MEMBERS, PAIR,
        {"reason": "rude"},
    ),
    Action("read up to a place", "PUT /rooms/{room}/read", MARKERS, MEMBERS, PAIR, {"cursor": "{cursor}"}),
    Action("search in the room", "GET /search?q=words&room={room}", READERS, MEMBERS, PAIR),
    Action("create a room", "POST /rooms", EVERYBODY, EVERYBODY, "ok ok", {"name": "New", "kind": "public"}),
    Action("open a direct room", "POST /direct", EVERYBODY, EVERYBODY, "ok ok", {"user": "{outsider}"}),
    Action("rename", "PATCH /rooms/{room}", LEADERS, LEADERS_UNSEEN, NO_PAIR, {"name": "Hall"}),
    Action("delete the room", "DELETE /rooms/{room}", OWNER, OWNER_UNSEEN, NO_PAIR),
    Action(
        "add somebody", "PUT /rooms/{room}/members/{outsider}",
        "invalid invalid forbidden forbidden forbidden forbidden", LEADERS_UNSEEN, NO_PAIR,
    ),
    Action(
        "give a role", "PUT /rooms/{room}/members/{other}", OWNER, OWNER_UNSEEN, NO_PAIR, {"role": "moderator"},
    ),
    Action(
        "hand the room over", "PUT /rooms/{room}/members/{other}", OWNER, OWNER_UNSEEN, NO_PAIR, {"role": "owner"},
    ),
    Action(
        "mute a member", "PUT /rooms/{room}/members/{other}", LEADERS, LEADERS_UNSEEN, NO_PAIR,
        {"muted_until": SOON},
    ),
    Action(
        "mute a moderator", "PUT /rooms/{room}/members/{second}", OWNER, OWNER_UNSEEN, NO_PAIR,
        {"muted_until": SOON},
    ),
    Action(
        "mute the owner", "PUT /rooms/{room}/members/{leader}", NOBODY, NOBODY_UNSEEN, NO_PAIR,
        {"muted_until": SOON},
    ),
    Action("remove a member", "DELETE /rooms/{room}/members/{other}", LEADERS, LEADERS_UNSEEN, NO_PAIR),
    Action("remove a moderator", "DELETE /rooms/{room}/members/{second}", OWNER, OWNER_UNSEEN, NO_PAIR),
    Action("remove the owner", "DELETE /rooms/{room}/members/{leader}", NOBODY, NOBODY_UNSEEN, NO_PAIR),
    Action("see the bans", "GET /rooms/{room}/bans", LEADERS, LEADERS_UNSEEN, NO_PAIR),
    Action("ban a member", "PUT /rooms/{room}/bans/{other}", LEADERS, LEADERS_UNSEEN, NO_PAIR, {"reason": "spam"}),
    Action("ban a moderator", "PUT /rooms/{room}/bans/{second}", OWNER, OWNER_UNSEEN, NO_PAIR),
    Action("ban the owner", "PUT /rooms/{room}/bans/{leader}", NOBODY, NOBODY_UNSEEN, NO_PAIR),
    Action("ban a stranger", "PUT /rooms/{room}/bans/{outsider}", LEADERS, LEADERS_UNSEEN, NO_PAIR),
    Action("lift a ban", "DELETE /rooms/{room}/bans/{barred}", LEADERS, LEADERS_UNSEEN, NO_PAIR),
    Action("see the moderation log", "GET /rooms/{room}/log", LEADERS, LEADERS_UNSEEN, NO_PAIR),
    Action("see the reports", "GET /rooms/{room}/reports", LEADERS, LEADERS_UNSEEN, NO_PAIR),
    Action("see whom one blocks", "GET /me/blocks", EVERYBODY, EVERYBODY, "ok ok"),
    Action("block somebody", "PUT /me/blocks/{other}", EVERYBODY, EVERYBODY, "ok ok"),
    Action("unblock somebody", "DELETE /me/blocks/{other}", EVERYBODY, EVERYBODY, "ok ok"),
]  # fmt: skip

FRAMES = [
    Action("see a room live", "subscribe", READERS, MEMBERS, PAIR, {"room": "{room}"}),
    Action("stop seeing it", "unsubscribe", EVERYBODY, EVERYBODY, "ok ok", {"room": "{room}"}),
    Action("follow the room list", "subscribe", EVERYBODY, EVERYBODY, "ok ok", {"rooms": True}),
    Action("be seen typing", "typing", SPEAKERS, SPEAKERS_UNSEEN, PAIR, {"room": "{room}"}),
    Action("read up to a place", "read", MARKERS, MEMBERS, PAIR, {"room": "{room}", "cursor": "{cursor}"}),
    Action("say something", "send", SPEAKERS, SPEAKERS_UNSEEN, PAIR, {"id": ID, "room": "{room}", "text": "hello"}),
    Action(
        "edit one's own", "edit", SPEAKERS, SPEAKERS_UNSEEN, PAIR,
        {"room": "{room}", "message": "{own}", "text": "new"},
    ),
    Action(
        "edit somebody else's", "edit",
        "forbidden forbidden forbidden muted banned not_member",
        "forbidden forbidden forbidden muted not_found not_found", NO_PAIR,
        {"room": "{room}", "message": "{message}", "text": "new"},
    ),
    Action(
        "delete one's own", "delete", "ok ok ok ok banned not_member", MEMBERS, PAIR,
        {"room": "{room}", "message": "{own}"},
    ),
    Action(
        "delete somebody else's", "delete", "ok ok forbidden forbidden banned not_member", LEADERS_UNSEEN, NO_PAIR,
        {"room": "{room}", "message": "{message}"},
    ),
]  # fmt: skip


def filled(value: Any, names: Mapping[str, Any]) -> Any:
    """A call or a body with what stands in braces filled in; a room's number alone stays a number."""
    if isinstance(value, Mapping):
        return {key: filled(each, names) for key, each in value.items()}
    if value == "{room}":
        return names["room"]
    return value.format(**names) if isinstance(value, str) else value


HEAD = """# Who may do what

This page is written by `python -m tests.permissions` from the table in [tests/permissions.py](../tests/permissions.py),
and a test tries every cell of it on a running server. A ✓ is a success, everything else the error code. Who is not
signed in gets `unauthenticated`, always, and a WebSocket is closed with 4001.

- **muted**: a member who only reads. **banned**: no member any more, kept out until the ban ends or is lifted; of a
  private room the banned know no more than other strangers. **stranger**: anybody else who is signed in.
- A right that is taken away is taken from live sockets of every server within 2 s, also while Kafka or the poller
  stands still. What was sent before that is delivered.
- Moderators act neither on the owner nor on each other. A direct room belongs to its two people: nobody leads it, and
  nobody leaves it.
- Who blocks somebody does not see what that person says: live, resumed, in the history, in the room list and
  in a search. Notices,
  comings and goings stay visible, and unread counts include what is hidden, since they come from the room's numbering.
  While one of two people blocks the other, no direct room is opened; what the blocked one writes in an old one is
  accepted, and hidden.
- Whoever reports a message is named to the operator, in the admin, and not to those who lead the room.
"""


def page() -> Iterator[str]:
    yield HEAD
    for kind, people in KINDS.items():
        for title, actions in (("over REST", REST), ("over the WebSocket", FRAMES)):
            yield f"\n## {kind.capitalize()} rooms, {title}\n"
            yield f"| to | by | {' | '.join('the two' if kind == 'direct' and p == 'member' else p for p in people)} |"
            yield f"|{'---|' * (len(people) + 2)}"
            for action in actions:
                codes = ["✓" if code == "ok" else f"`{code}`" for code in action.answers(kind).values()]
                yield f"| {action.name} | `{action.call}` | {' | '.join(codes)} |"


def text() -> str:
    return "\n".join(page()) + "\n"


if __name__ == "__main__":
    PAGE.write_text(text())

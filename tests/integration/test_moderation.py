"""What those who lead a room may do to its people, and what becomes of it."""

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.conf import settings as project
from django.db import transaction
from django.db.transaction import TransactionManagementError
from django.utils import timezone

from accounts.cache import Entry, VersionedCache
from accounts.errors import ChatError, ErrorCode
from accounts.models import User
from messaging.access import read_access, require_unmuted
from rooms import moderation, services
from rooms.figures import last_message_key
from rooms.models import Ban, Membership, ModerationEntry, Room
from rooms.moderation_log import record_action
from rooms.rights import require_reader
from tests.integration.people_support import Door, at_once, make_person, refused, types_of
from tests.integration.test_rooms_services import changes_of, code_of, make_room, members_of

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)


@pytest.fixture
def people() -> dict[str, User]:
    return {name: make_person(name) for name in ("owner", "moderator", "other", "member", "stranger")}


@pytest.fixture
def room(people: dict[str, User]) -> Room:
    """With its owner, two moderators and a member."""
    room = make_room(people["owner"], people["moderator"], people["other"], people["member"])
    for name in ("moderator", "other"):
        moderation.change_member(room_id=room.pk, username=name, by=people["owner"], role="moderator")
    return room


def test_handing_over_makes_the_former_owner_a_moderator(room: Room, people: dict[str, User]) -> None:
    """A room has one owner at each moment; the list is told, and so are the rights of both."""
    moderation.change_member(room_id=room.pk, username="member", by=people["owner"], role="owner")
    assert dict(members_of(room)) == {
        "owner": "moderator",
        "moderator": "moderator",
        "other": "moderator",
        "member": "owner",
    }
    room.refresh_from_db()
    assert room.owner == people["member"] and types_of(room)[-1] == "room.updated"
    assert changes_of(people["owner"])[-1] == changes_of(people["member"])[-1] == (room.pk, "role")
    services.leave_room(room_id=room.pk, user=people["owner"])


def test_a_room_that_is_handed_over_twice_at_once_has_one_owner(room: Room, people: dict[str, User]) -> None:
    """The second one was no owner any more."""
    give = partial(moderation.change_member, room_id=room.pk, by=people["owner"], role="owner")
    results = at_once([partial(give, username="member"), partial(give, username="moderator")])
    assert [result.code for result in results if isinstance(result, ChatError)] == [ErrorCode.FORBIDDEN]
    room.refresh_from_db()
    assert [role for _, role in members_of(room)].count("owner") == 1
    assert room.memberships.get(role="owner").user == room.owner


@pytest.mark.parametrize("actor", ["moderator", "member", "stranger"])
def test_only_the_owner_gives_roles(room: Room, people: dict[str, User], actor: str) -> None:
    for role in ("owner", "moderator", "member"):
        change = partial(moderation.change_member, room_id=room.pk, username="member", by=people[actor], role=role)
        assert code_of(change) == ErrorCode.FORBIDDEN


def test_an_owner_stays_until_somebody_else_is(room: Room, people: dict[str, User]) -> None:
    change = partial(moderation.change_member, room_id=room.pk, username="owner", by=people["owner"])
    assert code_of(partial(change, role="member")) == ErrorCode.CONFLICT
    assert change(role="owner").role == "owner"


@pytest.mark.parametrize(
    ("actor", "victim", "allowed"),
    [
        ("owner", "moderator", True),
        ("owner", "member", True),
        ("moderator", "member", True),
        ("moderator", "owner", False),
        ("moderator", "other", False),
        ("moderator", "moderator", False),
        ("owner", "owner", False),
        ("member", "other", False),
        ("stranger", "member", False),
    ],
)
def test_who_may_mute_whom(room: Room, people: dict[str, User], actor: str, victim: str, allowed: bool) -> None:
    """Moderators do not act on the owner or each other; so it is with ending a mute."""
    change = partial(moderation.change_member, room_id=room.pk, username=victim, by=people[actor])
    mute = partial(change, muted_until=timezone.now() + HOUR)
    if not allowed:
        assert code_of(mute) == code_of(partial(change, unmute=True)) == ErrorCode.FORBIDDEN
        return
    mute()
    with pytest.raises(ChatError) as refusal:
        require_unmuted(read_access(people[victim].pk, room.pk))
    assert refusal.value.code == ErrorCode.MUTED and changes_of(people[victim])[-1] == (room.pk, "role")
    change(unmute=True)
    require_unmuted(read_access(people[victim].pk, room.pk))


def test_a_mute_ends_by_itself(room: Room, people: dict[str, User]) -> None:
    """No job has to end it."""
    moderation.change_member(room_id=room.pk, username="member", by=people["owner"], muted_until=timezone.now() + HOUR)
    Membership.objects.filter(user=people["member"]).update(muted_until=timezone.now() - HOUR)
    require_unmuted(read_access(people["member"].pk, room.pk))


def test_a_mute_is_not_shaken_off_by_leaving(room: Room, people: dict[str, User]) -> None:
    """Who comes back is muted as before; after the mute was ended nobody is."""
    member, change = people["member"], partial(moderation.change_member, room_id=room.pk, username="member")
    change(by=people["owner"], muted_until=timezone.now() + HOUR)
    for muted in (True, False):
        services.leave_room(room_id=room.pk, user=member)
        services.join_room(room_id=room.pk, user=member)
        assert (read_access(member.pk, room.pk).muted_until is not None) is muted
        change(by=people["owner"], unmute=True)


def test_nobody_is_changed_who_is_no_member(room: Room, people: dict[str, User]) -> None:
    change = partial(moderation.change_member, room_id=room.pk, username="stranger", by=people["owner"])
    assert code_of(partial(change, role="moderator")) == ErrorCode.NOT_FOUND


# Bans


def test_a_banned_member_is_out_and_stays_out(room: Room, people: dict[str, User]) -> None:
    """Neither joining nor reading nor speaking works, until the ban is lifted."""
    member, join = people["member"], partial(services.join_room, room_id=room.pk, user=people["member"])
    moderation.ban_person(room_id=room.pk, username="MEMBER", by=people["moderator"], reason=" spam ")
    assert "member" not in dict(members_of(room)) and changes_of(member)[-1] == (room.pk, "banned")
    for call in (join, partial(read_access, member.pk, room.pk), partial(require_reader, room.pk, member.pk)):
        assert code_of(call) == ErrorCode.BANNED
    assert room not in Room.objects.readable_by(member.pk) and room in Room.objects.visible_to(member.pk)
    moderation.lift_ban(room_id=room.pk, username="member", by=people["owner"])
    require_reader(room.pk, member.pk)
    assert join() is True


def test_a_ban_ends_by_itself(room: Room, people: dict[str, User]) -> None:
    """No job has to end it; until then its end is told as a time to wait."""
    moderation.ban_person(room_id=room.pk, username="member", by=people["owner"], until=timezone.now() + HOUR)
    join = partial(services.join_room, room_id=room.pk, user=people["member"])
    with pytest.raises(ChatError) as refusal:
        join()
    assert refusal.value.retry_after == pytest.approx(3600, abs=60)
    Ban.objects.update(until=timezone.now() - HOUR)
    require_reader(room.pk, people["member"].pk)
    assert join() is True


def test_a_stranger_is_banned_before_coming(room: Room, people: dict[str, User]) -> None:
    """And a private room is as little known to the banned as to others."""
    moderation.ban_person(room_id=room.pk, username="stranger", by=people["owner"])
    assert code_of(partial(services.join_room, room_id=room.pk, user=people["stranger"])) == ErrorCode.BANNED
    private = make_room(people["owner"], people["member"], kind="private")
    moderation.ban_person(room_id=private.pk, username="member", by=people["owner"])
    assert code_of(partial(require_reader, private.pk, people["member"].pk)) == ErrorCode.NOT_FOUND
    assert code_of(partial(read_access, people["member"].pk, private.pk)) == ErrorCode.NOT_FOUND
    add = partial(services.add_member, room_id=private.pk, username="member", by=people["owner"])
    assert code_of(add) == ErrorCode.CONFLICT
    moderation.lift_ban(room_id=private.pk, username="member", by=people["owner"])
    assert add().user == people["member"]


def test_a_ban_again_has_the_new_end_and_reason(room: Room, people: dict[str, User]) -> None:
    ban = partial(moderation.ban_person, room_id=room.pk, username="member")
    ban(by=people["owner"], reason="first")
    again = ban(by=people["moderator"], until=timezone.now() + HOUR, reason="second")
    assert list(Ban.objects.values_list("by__username", "until", "reason")) == [("moderator", again.until, "second")]


@pytest.mark.parametrize("_", range(3))
def test_a_ban_is_not_undone_by_joining_at_the_same_moment(room: Room, people: dict[str, User], _: int) -> None:
    """Whichever comes first, the person is no member afterwards."""
    at_once(
        [
            partial(moderation.ban_person, room_id=room.pk, username="stranger", by=people["owner"]),
            partial(services.join_room, room_id=room.pk, user=people["stranger"]),
        ]
    )
    assert "stranger" not in dict(members_of(room)) and Ban.objects.count() == 1


@pytest.mark.parametrize(
    ("actor", "victim"),
    [
        ("moderator", "owner"),
        ("moderator", "other"),
        ("moderator", "moderator"),
        ("owner", "owner"),
        ("member", "stranger"),
        ("stranger", "member"),
    ],
)
def test_who_may_not_ban_whom(room: Room, people: dict[str, User], actor: str, victim: str) -> None:
    """As it is with kicking."""
    ban = partial(moderation.ban_person, room_id=room.pk, username=victim, by=people[actor])
    assert code_of(ban) == ErrorCode.FORBIDDEN and not Ban.objects.exists()


def test_somebody_who_became_the_owner_meanwhile_is_not_banned(room: Room, people: dict[str, User]) -> None:
    """The admin's form asked before the room was locked."""
    ban = Ban(room=room, user=room.owner)
    with pytest.raises(ChatError, match="owner"), transaction.atomic():
        moderation.ban_step(ban, by=people["other"])
    assert not Ban.objects.exists() and room.memberships.filter(user=room.owner).exists()


@pytest.mark.parametrize("bad", [{"reason": "x" * 201}, {"reason": "a\nb"}, {"until": timezone.now() - HOUR}])
def test_bad_bans_are_invalid(room: Room, people: dict[str, User], bad: Any) -> None:
    ban = partial(moderation.ban_person, room_id=room.pk, username="member", by=people["owner"])
    assert code_of(partial(ban, **bad)) == ErrorCode.INVALID and not Ban.objects.exists()


def test_bans_over_rest(room: Room, people: dict[str, User]) -> None:
    """Those in force, for those who lead the room; the banned see neither members nor the last message."""
    door, banned, path = Door(token_of=people["owner"]), Door(token_of=people["member"]), f"/rooms/{room.pk}"
    first = door.call("PUT", f"{path}/bans/member", {"until": "2099-01-01T00:00:00Z", "reason": "spam"})
    assert first.pop("created") and first == {
        "user": "member", "by": "owner", "until": "2099-01-01T00:00:00.000Z", "reason": "spam",
    }  # fmt: skip
    assert door.call("PUT", f"{path}/bans/stranger")["until"] is None
    assert [ban["user"] for ban in door.get(f"{path}/bans")["items"]] == ["member", "stranger"]
    assert refused(banned, banned.get(f"{path}/bans")) == (403, "forbidden")
    for call in ("/members", "/messages"):
        assert refused(banned, banned.get(f"{path}{call}")) == (403, "banned")
    assert refused(banned, banned.call("PUT", f"{path}/membership")) == (403, "banned")
    cache = VersionedCache(project.REDIS_URL, **project.REDIS_OPTIONS)
    cache.write([Entry(last_message_key(room.pk), 2**50, {"text": "secret"})])
    assert banned.get(path)["last_message"] is None and door.get(path)["last_message"] == {"text": "secret"}
    door.call("DELETE", f"{path}/bans/member")
    assert door.status == 204
    assert refused(door, door.call("DELETE", f"{path}/bans/member")) == (404, "not_found")
    Ban.objects.update(until=timezone.now() - HOUR)
    assert door.get(f"{path}/bans")["items"] == []


# The log


def entries() -> list[tuple[str, str, str, str]]:
    return list(ModerationEntry.objects.order_by("pk").values_list("action", "actor", "subject", "detail"))


def test_every_act_of_those_who_lead_a_room_is_in_the_log(people: dict[str, User]) -> None:
    """What people do to themselves is not."""
    owner, stranger, soon = people["owner"], people["stranger"], timezone.now() + HOUR
    room = make_room(owner, people["member"], stranger, kind="private")
    act = {"room_id": room.pk, "by": owner}
    services.leave_room(room_id=room.pk, user=stranger)
    moderation.change_member(username="member", muted_until=soon, **act)
    moderation.change_member(username="member", unmute=True, **act)
    moderation.change_member(username="member", role="moderator", **act)
    services.rename_room(name="New", **act)
    services.remove_member(username="member", **act)
    moderation.ban_person(username="member", until=soon, reason="spam", **act)
    moderation.lift_ban(username="member", **act)
    services.add_member(username="other", **act)
    moderation.change_member(username="other", role="owner", **act)
    services.delete_room(room_id=room.pk, by=people["other"])
    assert entries() == [
        ("add", "owner", "member", ""),
        ("add", "owner", "stranger", ""),
        ("mute", "owner", "member", ""),
        ("unmute", "owner", "member", ""),
        ("role", "owner", "member", "moderator"),
        ("rename", "owner", "", "New"),
        ("kick", "owner", "member", ""),
        ("ban", "owner", "member", ""),
        ("lift", "owner", "member", ""),
        ("add", "owner", "other", ""),
        ("hand_over", "owner", "other", ""),
        ("delete_room", "other", "", "New"),
    ]
    ban = ModerationEntry.objects.get(action="ban")
    assert (ban.room, ban.until, ban.reason) == (room.pk, soon, "spam")


def test_what_is_refused_is_not_in_the_log(room: Room, people: dict[str, User]) -> None:
    before = entries()
    code_of(partial(moderation.ban_person, room_id=room.pk, username="owner", by=people["moderator"]))
    assert entries() == before


def test_an_entry_belongs_into_the_transaction_of_its_act() -> None:
    with pytest.raises(TransactionManagementError):
        record_action(ModerationEntry.Action.KICK, room=1, actor="alice")


def test_the_log_over_rest_is_for_those_who_lead_the_room(room: Room, people: dict[str, User]) -> None:
    """Newest first, page by page, without who reported what."""
    moderation.ban_person(room_id=room.pk, username="member", by=people["moderator"], reason="spam")
    with transaction.atomic():
        record_action(ModerationEntry.Action.REPORT, room=room.pk, actor="member", subject="moderator")
    door, path = Door(token_of=people["moderator"]), f"/rooms/{room.pk}/log"
    page = door.get(path, limit=1)
    assert page["items"][0].pop("time") and page["items"] == [
        {"action": "ban", "actor": "moderator", "subject": "member", "message": None, "detail": None, "until": None,
         "reason": "spam"}
    ]  # fmt: skip
    rest = door.get(path, after=page["next"])
    assert [(entry["action"], entry["subject"]) for entry in rest["items"]] == [
        ("role", "other"),
        ("role", "moderator"),
    ]
    for name, code in (("member", "forbidden"), ("stranger", "forbidden")):
        other = Door(token_of=people[name])
        assert refused(other, other.get(path)) == (403, code)

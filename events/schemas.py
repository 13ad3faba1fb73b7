"""The events: their types on the wire and the shape of their data.

A type ends in the major version of its schema. Fields may be added within a major version, since readers ignore what
they do not know; anything else makes a new type. Each type has one example in `examples/`.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints


class EventType(StrEnum):
    USER_CREATED = "chat.user.created.v1"
    ROOM_CREATED = "chat.room.created.v1"
    ROOM_UPDATED = "chat.room.updated.v1"
    ROOM_DELETED = "chat.room.deleted.v1"
    MESSAGE_CREATED = "chat.message.created.v1"
    MESSAGE_EDITED = "chat.message.edited.v1"
    MESSAGE_DELETED = "chat.message.deleted.v1"
    NOTICE_CREATED = "chat.notice.created.v1"
    ACCESS_CHANGED = "chat.access.changed.v1"
    ROOM_ACTIVITY = "chat.room.activity.v1"
    ROOM_READ = "chat.room.read.v1"


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("PostgreSQL cannot store a NUL character")
    return text


Text = Annotated[str, AfterValidator(_storable)]
Name = Annotated[str, StringConstraints(min_length=1), AfterValidator(_storable)]
Id = Annotated[int, Field(ge=1, lt=2**63)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Uuid = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
Time = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")]

Kind = Literal["public", "private", "direct"]


class EventData(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)

    @property
    def subject(self) -> str:
        """What the event is about, such as `room/12`."""
        raise NotImplementedError


class UserCreated(EventData):
    id: Name
    created: Time

    @property
    def subject(self) -> str:
        return f"user/{self.id}"


class RoomCreated(EventData):
    """`people`: the two of a direct room, each of whom sees the other's id as its name."""

    id: Id
    name: Name
    kind: Kind
    owner: Name
    created: Time
    people: list[Name] | None = None

    @property
    def subject(self) -> str:
        return f"room/{self.id}"


class RoomUpdated(RoomCreated):
    """The room as it is now."""


class RoomDeleted(EventData):
    """`kind` tells whom the end of the room concerns, now that nobody can be asked."""

    id: Id
    kind: Kind

    @property
    def subject(self) -> str:
        return f"room/{self.id}"


class InRoom(EventData):
    room: Id

    @property
    def subject(self) -> str:
        return f"room/{self.room}"


class MessageCreated(InRoom):
    """What a person said; the envelope's id is the message's."""

    sender: Name
    sender_id: Id
    text: Name
    reply_to: Text | None = None


class MessageEdited(InRoom):
    """The message has another text from here on. `by_id` is its author, else storage refuses it."""

    message: Uuid
    text: Name
    by: Name
    by_id: Id


class MessageDeleted(InRoom):
    """The message has no text any more. `by_id` is its author or somebody who moderates the room, else storage refuses
    it."""

    message: Uuid
    by: Name
    by_id: Id


class NoticeCreated(InRoom):
    """A system message of the room's log; the envelope's id is the notice's."""

    event: Literal["member_joined", "member_left", "member_removed", "renamed"]
    user: Name | None = None
    name: Name | None = None
    by: Name | None = None


class AccessChanged(EventData):
    """An invalidation: whoever reads it reads the rights anew from PostgreSQL. `room` None means all of them; `blocks`
    is about the person's block list instead."""

    user_id: Id
    room: Id | None = None
    reason: Literal["added", "left", "kicked", "banned", "deleted", "signed_out", "deactivated", "role", "blocks"]

    @property
    def subject(self) -> str:
        return f"access/{self.user_id}"


class RoomActivity(InRoom):
    """Messages were stored: `seq` is the newest one's number, `last_message` its frame as it is now (None: too much was
    waiting to be told). The envelope's version is the place in the log of what made it so; lower ones are late."""

    seq: Count
    last_message: dict[str, Any] | None


class ReadMark(EventData):
    user_id: Id
    room: Id
    seq: Count


class RoomRead(EventData):
    """People have read up to these numbers."""

    marks: list[ReadMark]

    @property
    def subject(self) -> str:
        return "read"


SCHEMAS: Mapping[str, type[EventData]] = {
    EventType.USER_CREATED: UserCreated,
    EventType.ROOM_CREATED: RoomCreated,
    EventType.ROOM_UPDATED: RoomUpdated,
    EventType.ROOM_DELETED: RoomDeleted,
    EventType.MESSAGE_CREATED: MessageCreated,
    EventType.MESSAGE_EDITED: MessageEdited,
    EventType.MESSAGE_DELETED: MessageDeleted,
    EventType.NOTICE_CREATED: NoticeCreated,
    EventType.ACCESS_CHANGED: AccessChanged,
    EventType.ROOM_ACTIVITY: RoomActivity,
    EventType.ROOM_READ: RoomRead,
}


def check_data(type: str, data: Mapping[str, Any]) -> EventData:
    """The data of an event, checked. Raises `pydantic.ValidationError`, a `ValueError`."""
    return SCHEMAS[type].model_validate(data)

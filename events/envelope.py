"""What every record of a JSON topic is wrapped in, in the words of CloudEvents."""

from datetime import UTC, datetime
from typing import Any, Self

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from events.errors import InvalidRecord
from events.schemas import SCHEMAS, Id, Name, Time, Uuid, check_data

__all__ = ["SOURCE", "Envelope", "InvalidRecord", "explain", "time_text"]

SOURCE = "chat"


class Envelope(BaseModel):
    """An event on its way. `version` grows by one with each event of the same aggregate: a reader that has seen it
    drops a record with that version or a lower one. None: the event is of no aggregate (a message)."""

    model_config = ConfigDict(strict=True, frozen=True)

    id: Uuid
    type: str
    source: Name = SOURCE
    subject: Name
    time: Time
    version: Id | None = None
    data: dict[str, Any]

    def encode(self) -> bytes:
        return orjson.dumps(self.__dict__)

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """The envelope in a record's value, its data checked. Raises `InvalidRecord` for everything else."""
        try:
            envelope = cls.model_validate_json(value)
            _require_known(envelope.type)
            checked = check_data(envelope.type, envelope.data)
        except ValidationError as error:
            raise InvalidRecord(explain(error)) from None
        # Into the dict that was made just now: a copy of the model would take longer than all the rest.
        envelope.data.clear()
        envelope.data.update(checked.model_dump())
        return envelope


def time_text(moment: datetime) -> str:
    """A time as it stands on the wire: `2026-11-23T10:00:00.000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _require_known(type: str) -> None:
    if type in SCHEMAS:
        return
    name, _, _ = type.rpartition(".v")
    known = [other for other in SCHEMAS if other.rpartition(".v")[0] == name]
    if known:
        raise InvalidRecord(f"{type!r} has a major version unknown to this server, which knows {', '.join(known)}.")
    raise InvalidRecord(f"{type!r} is no type of event that this server knows.")


def explain(error: ValidationError) -> str:
    """The first fault in one line, without the value, which may be somebody's text."""
    fault = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in fault["loc"]) or "value"
    return f"{place}: {fault['msg']}"

"""What a REST call may bring: one JSON object, whose fields have the very types that the document names."""

from typing import Annotated, Any

import orjson
from django.http import HttpRequest
from ninja import Schema
from ninja.parser import Parser
from pydantic import AwareDatetime, BeforeValidator, ConfigDict, Field

from accounts.errors import ChatError, ErrorCode


class Body(Schema):
    """The fields of a call's body: a number in quotes is no number. Query strings have no types and use `Schema`."""

    model_config = ConfigDict(strict=True)


def _require_text(value: Any) -> Any:
    """Pydantic would read numbers too, as seconds since 1970."""
    if isinstance(value, str) and "T" in value.upper():
        return value
    raise ValueError("a date and a time with its zone, such as 2026-11-23T10:00:00Z")


# A moment in a body: JSON has no type for it, so that it must be read out of a text.
Moment = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_require_text)]


class BodyParser(Parser):
    """Refuses what JSON has no word for (NaN, lone surrogates), what is nested beyond all use, and whatever is no
    object, since Pydantic would look for attributes in it. `null` is no body."""

    def parse_body(self, request: HttpRequest) -> Any:
        # A page of another origin may send other types without asking first.
        if request.body and request.content_type != "application/json":
            raise ChatError(ErrorCode.INVALID, "A body is JSON: send Content-Type: application/json.")
        try:
            body = orjson.loads(request.body)
        except orjson.JSONDecodeError:
            raise ChatError(ErrorCode.INVALID, "The body is not JSON.") from None
        if not isinstance(body, dict | None):
            raise ChatError(ErrorCode.INVALID, "A body is one JSON object.")
        return body

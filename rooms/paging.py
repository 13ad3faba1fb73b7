"""Lists by pages: a cursor names the row behind which the next page goes on."""

import base64
from typing import TypeVar

from django.db.models import Model, QuerySet
from ninja import Schema

from accounts.errors import ChatError, ErrorCode

MAX_PAGE = 200

Row = TypeVar("Row", bound=Model)


class PlaceQuery(Schema):
    after: str | None = None
    limit: int = 100


def page_of(rows: QuerySet[Row], query: PlaceQuery, *, newest_first: bool = False) -> tuple[list[Row], str | None]:
    """The rows behind the cursor in the order in which they were made, and the cursor of the next page. Raises
    `ChatError` `invalid`."""
    if not 1 <= query.limit <= MAX_PAGE:
        raise ChatError(ErrorCode.INVALID, f"limit goes from 1 to {MAX_PAGE}.")
    if query.after:
        place = read_cursor(query.after)
        rows = rows.filter(pk__lt=place) if newest_first else rows.filter(pk__gt=place)
    page = list(rows.order_by("-pk" if newest_first else "pk")[: query.limit + 1])
    more, page = len(page) > query.limit, page[: query.limit]
    return page, list_cursor(page[-1].pk) if more else None


def list_cursor(pk: int) -> str:
    """Where a list goes on behind a row."""
    return base64.urlsafe_b64encode(str(pk).encode()).decode()


def read_cursor(text: str) -> int:
    """The row of a `list_cursor`; raise `ChatError` `invalid` for anything else."""
    try:
        return int(base64.urlsafe_b64decode(text.encode()))
    except ValueError:
        raise ChatError(ErrorCode.INVALID, "The cursor is malformed; use `next` of the page before.") from None

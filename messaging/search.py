"""Finding what was said: words over the messages that a person may read, the newest first."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.db import OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models import Max
from psycopg.errors import QueryCanceled

from accounts.errors import ChatError, ErrorCode
from accounts.turns import Turns
from messaging.models import Message
from messaging.words import PUBLIC, Query, parse_query, place_of
from rooms.models import Block, Room, RoomQuerySet

MAX_QUERY = 200  # characters
TIME_LIMIT = 2000  # milliseconds
MAX_PLACES = 1000
# Of the pool's connections searches take a few, whoever searches.
SEARCHING = Turns(2, patience=TIME_LIMIT / 1000, refusal="Too many people search at the moment.", retry_after=2)
# So many of the newest rows are looked through before the index is asked: a word that many messages hold is found there
# at once, and the index would first collect all of them.
RECENT = 10_000
# Then it must be the index. PostgreSQL would take a word that is frequent somewhere for one that is soon found
# anywhere, and go through the whole table.
BY_WORDS = "SET LOCAL enable_indexscan = off; SET LOCAL enable_seqscan = off"


@dataclass(frozen=True, slots=True)
class Found:
    """Messages, the newest first; `after` names where to read on (None: that is all)."""

    rows: list[Message]
    after: int | None


def search_messages(user: int, query: Query, *, room: int | None, after: int | None, limit: int) -> Found:
    """The newest messages that say all words of a query, of all rooms that the person may read or of one of them,
    older than the row `after`; of nobody whom the person blocks. Raises `ChatError` `unavailable` when it takes too
    long."""
    readable = Room.objects.readable_by(user)
    found = Message.objects.filter(room__in=readable if room is None else readable.filter(pk=room))
    found = (
        found.not_from(Block.objects.names(user))
        .saying(query, places=_places(readable) if room is None else [place_of(room)])
        .order_by("-pk")
    )
    with SEARCHING.take(), _time_limit() as cursor:
        end = after if after is not None else 1 + (Message.objects.aggregate(newest=Max("pk"))["newest"] or 0)
        rows = list(found.filter(pk__lt=end, pk__gte=end - RECENT)[: limit + 1])
        if len(rows) <= limit:
            cursor.execute(BY_WORDS)
            rows += found.filter(pk__lt=end - RECENT)[: limit + 1 - len(rows)]
    return Found(rows[:limit], rows[limit - 1].pk if len(rows) > limit else None)


def _places(readable: RoomQuerySet) -> list[str]:
    """The places that a person may read; none when they are too many to be asked for one by one."""
    closed = list(readable.exclude(kind=Room.Kind.PUBLIC).values_list("pk", flat=True)[: MAX_PLACES + 1])
    return [] if len(closed) > MAX_PLACES else [PUBLIC, *map(place_of, closed)]


def checked_query(text: str) -> Query:
    """Raise `ChatError` `invalid` unless there is something to look for."""
    if len(text) > MAX_QUERY:
        raise ChatError(ErrorCode.INVALID, f"q has at most {MAX_QUERY} characters.")
    query = parse_query(text)
    longest = max(map(len, query.words), default=0)
    if longest < 2 and not query.phrases:
        raise ChatError(ErrorCode.INVALID, "q needs a word of at least two letters or digits.")
    return query


@contextmanager
def _time_limit() -> Iterator[CursorWrapper]:
    """A search must not keep PostgreSQL from its other work."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = {TIME_LIMIT}")
            yield cursor
    except OperationalError as error:
        if not isinstance(error.__cause__, QueryCanceled):
            raise
        detail = "The search took too long: look for a rarer word, or in one room."
        raise ChatError(ErrorCode.UNAVAILABLE, detail, retry_after=5) from None

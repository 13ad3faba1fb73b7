"""REST: the history of a room, and sending without a socket."""

import asyncio
import logging
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from asgiref.sync import async_to_sync
from confluent_kafka import KafkaException
from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router, Schema, Status
from pydantic import Field

from accounts.auth import authenticated, caller
from accounts.bodies import Body
from accounts.errors import ChatError, ErrorCode
from accounts.limits import require, require_here
from accounts.turns import release_connection
from events.envelope import time_text
from events.schemas import Text
from kafka_layer import LayerError
from messaging import history, protocol, reports
from messaging.access import read_access, require_unmuted
from messaging.cursor import Cursor
from messaging.database import in_database
from messaging.frames import frame_of_row
from messaging.history import MAX_PAGE, Blocked, Page
from messaging.hub import get_hub
from messaging.log import RoomLog
from messaging.models import Report
from messaging.protocol import SendFrame
from messaging.reading import mark_at_once
from messaging.search import checked_query, search_messages
from messaging.sending import send_message
from messaging.words import find_highlights
from rooms.models import Block
from rooms.paging import PlaceQuery, list_cursor, page_of, read_cursor
from rooms.rights import require_moderator, require_reader

logger = logging.getLogger(__name__)

START_DEADLINE = 3.0  # seconds that a request waits for a log that this process has not read yet

router = Router(auth=authenticated, tags=["messages"])


class PageQuery(Schema):
    before: str | None = None
    after: str | None = None
    around: str | None = None
    limit: int = 50


class MessagePage(Schema):
    """`items`: `message` and `notice` frames, oldest first."""

    items: list[dict[str, Any]]
    before: str | None
    after: str | None
    stored: str | None


@router.get("/rooms/{int:room_id}/messages", response=MessagePage)
def get_messages(request: HttpRequest, room_id: int, query: Annotated[PageQuery, Query()]) -> dict[str, Any]:
    """A page of a room's history, oldest first: of a public room for anybody who is not banned, else for members."""
    user = caller(request).pk
    require_reader(room_id, user)
    page = _read_page(room_id, query, Block.objects.names(user))
    return {
        "items": [frame_of_row(row) for row in page.rows],
        "before": page.before and str(page.before),
        "after": page.after and str(page.after),
        "stored": page.stored and str(page.stored),
    }


class SearchQuery(Schema):
    q: str
    room: Annotated[int, Field(ge=1, lt=2**63)] | None = None
    after: str | None = None
    limit: int = 50


MAX_FOUND = 50  # messages of one answer; marking the words in each takes its time


@router.get("/search")
def search(request: HttpRequest, query: Annotated[SearchQuery, Query()]) -> dict[str, Any]:
    """The newest messages that say all the words of `q`, of what I may read or of one room of it. `highlights` are the
    places of the words in the text: [from, to) in Unicode code points."""
    user = caller(request).pk
    if not 1 <= query.limit <= MAX_FOUND:
        raise ChatError(ErrorCode.INVALID, f"limit goes from 1 to {MAX_FOUND}.")
    require_here("searches", user)
    wanted = checked_query(query.q)
    if query.room is not None:
        require_reader(query.room, user)
    after = None if query.after is None else read_cursor(query.after)
    found = search_messages(user, wanted, room=query.room, after=after, limit=query.limit)
    return {
        "items": [{**frame_of_row(row), "highlights": find_highlights(row.text, wanted)} for row in found.rows],
        "next": None if found.after is None else list_cursor(found.after),
    }


class MessageIn(Body):
    id: str
    text: str
    reply_to: str | None = None
    retry: bool = False


@router.post("/rooms/{int:room_id}/messages", response={201: dict[str, Any]})
def post_message(request: HttpRequest, room_id: int, message: MessageIn) -> Status[dict[str, Any]]:
    """Send a message without a socket, with the same rules; answers with the message's frame."""
    user = caller(request)
    checked = protocol.parse_send(message.dict(), room_id)
    require_here("messages", user.pk)
    _require_speaker(user.pk, room_id)
    release_connection()  # Kafka may take its time
    cursor = async_to_sync(_send)(checked, user.pk, user.username)
    frame = protocol.message(
        room=room_id,
        cursor=cursor,
        id=checked.id,
        sender=user.username,
        text=checked.text,
        time=time_text(timezone.now()),
        reply_to=checked.reply_to,
    )
    return Status(201, frame)


class NewReport(Body):
    reason: Text


class ReportOut(Schema):
    """A message as it is now, and why somebody has reported it; who that was, the operator knows."""

    message: dict[str, Any]
    reason: str
    created: str


class ReportPage(Schema):
    items: list[ReportOut]
    next: str | None


@router.post("/rooms/{int:room_id}/messages/{uuid:message}/report", response={204: None})
def report_message(request: HttpRequest, room_id: int, message: UUID, report: NewReport) -> Status[None]:
    """Tell those who lead the room, and the operator, of a message; once a person and message."""
    user = caller(request)
    require("reports", user.pk)
    reports.report_message(room_id=room_id, message=message, by=user, reason=report.reason)
    return Status(204, None)


@router.get("/rooms/{int:room_id}/reports", response=ReportPage)
def list_reports(request: HttpRequest, room_id: int, query: Annotated[PlaceQuery, Query()]) -> ReportPage:
    """Reports of messages that are still there, the newest first, for the room's owner and moderators."""
    require_moderator(room_id, caller(request))
    reports = Report.objects.open_in(room_id).select_related("message").defer("message__words")
    page, next = page_of(reports, query, newest_first=True)
    return ReportPage(
        items=[
            ReportOut(message=frame_of_row(row.message), reason=row.reason, created=time_text(row.created_at))
            for row in page
        ],
        next=next,
    )


class ReadIn(Body):
    cursor: str


@router.put("/rooms/{int:room_id}/read", response={204: None})
def put_read(request: HttpRequest, room_id: int, mark: ReadIn) -> Status[None]:
    """I have read the room up to this cursor; a mark never goes back."""
    user = caller(request)
    read_access(user.pk, room_id)
    release_connection()  # storage may take its time
    async_to_sync(_mark_read)(user.pk, room_id, mark)
    return Status(204, None)


async def _mark_read(user: int, room: int, mark: ReadIn) -> None:
    log = await _started_log()
    await mark_at_once(log, user, room, protocol.parse_read(mark.dict(), partition=log.partition(room)))


async def _send(message: SendFrame, user: int, username: str) -> Cursor:
    may_speak = partial(in_database(_require_speaker), user, message.room)
    return await send_message(await _started_log(), message, user=user, username=username, may_speak=may_speak)


def _require_speaker(user: int, room: int) -> None:
    require_unmuted(read_access(user, room))


async def _started_log() -> RoomLog:
    """The log, also when the first request to this process needs it; raise `ChatError` `unavailable` without Kafka."""
    log = get_hub().log
    try:
        async with asyncio.timeout(START_DEADLINE):
            await log.start()
    except (LayerError, KafkaException, TimeoutError) as error:
        logger.warning("The log cannot be read: %s", error)
        raise ChatError(ErrorCode.UNAVAILABLE, "Kafka cannot be reached; try again.", retry_after=1) from None
    return log


def _read_page(room: int, query: PageQuery, blocked: Blocked) -> Page:
    given = [text for text in (query.before, query.after, query.around) if text is not None]
    if len(given) > 1:
        raise ChatError(ErrorCode.INVALID, "Give one of before, after and around at most.")
    if not 1 <= query.limit <= MAX_PAGE:
        raise ChatError(ErrorCode.INVALID, f"limit goes from 1 to {MAX_PAGE}.")
    log = async_to_sync(_started_log)()
    partition = log.partition(room)
    # Before the rows: a page then holds at least all up to this place.
    stored = history.stored_cursor(epoch=log.epoch, partition=partition)
    cursor = Cursor.parse(given[0], partition=partition) if given else None
    if cursor is None:
        return history.newest_page(room, limit=query.limit, stored=stored, blocked=blocked)
    if query.before is not None:
        return history.page_before(room, cursor, limit=query.limit, blocked=blocked)
    if query.after is not None:
        return history.page_after(room, cursor, limit=query.limit, stored=stored, blocked=blocked)
    return history.page_around(room, cursor, limit=query.limit, stored=stored, blocked=blocked)

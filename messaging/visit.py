"""One person on one socket: which frames it may send, and what it is shown."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from django.db import DatabaseError, InterfaceError

from accounts.auth import session_is_alive
from accounts.errors import ChatError, ErrorCode
from accounts.limits import require, require_here
from accounts.models import User
from kafka_layer import Batch, Gap
from messaging import protocol
from messaging.access import ADDED
from messaging.attendance import live_group
from messaging.cursor import Cursor
from messaging.database import in_database, until_answered
from messaging.editing import change_message, find_target
from messaging.hub import Hub, Members
from messaging.log import group_of
from messaging.models import Message
from messaging.protocol import ChangeFrame, CloseCode, Frame, SendFrame, Text
from messaging.reading import within_log
from messaging.refresher import Refresher
from messaging.render import PrivateNews
from messaging.resume import enter_stream
from messaging.sending import send_message
from messaging.socket import Receive, Send, Socket
from messaging.unread import Follower
from rooms import blocks
from rooms.models import Room
from rooms.services import ROOM_LIST, as_seen_by, join_room, room_state_for

logger = logging.getLogger(__name__)

# Messages of one socket that wait for their acknowledgement; what comes on top waits in the queue of frames.
MAX_IN_FLIGHT = 32
# How long a socket that is drained waits for them: longer than Kafka may take to confirm or to fail.
ANSWER_DEADLINE = 6.0  # seconds
# How often a socket looks whether its session has expired, at most.
LOOK_INTERVAL = 1800.0  # seconds
# What frames about rooms are answered that the person has no right in.
NO_RIGHT = frozenset({ErrorCode.NOT_FOUND, ErrorCode.NOT_MEMBER, ErrorCode.BANNED})
# Those that a `removed` frame may tell.
ROOM_REASONS = frozenset({"left", "kicked", "banned", "deleted"})
# Those after which the room may still be in others' lists; that it was deleted is told by itself.
LEFT = ROOM_REASONS - {"deleted"}


class Visit:
    """One person on one socket: the handlers of client frames, and what the person's subscriptions bring."""

    def __init__(
        self, hub: Hub, user: User, session_key: str | None, expires: float | None, receive: Receive, send: Send
    ) -> None:
        self._hub = hub
        # Django's session that opened the socket; None for a token.
        self._session_key = session_key
        # When the token does, in seconds since 1970; None for a session, which may have been prolonged.
        self._expires = expires
        self._user = user
        self._user_id: int = user.pk
        self._username: str = user.username
        self._subscription = hub.log.layer.subscription()
        self._socket = Socket(receive, send, self._subscription, handle=self._handle, show=self._show)
        self._session = ""
        # Rooms whose stream this socket gets.
        self._rooms: set[int] = set()
        # Rooms that the person was told to have left, until the person is added again.
        self._left: set[int] = set()
        self._follows_list = False
        self._follower = Follower(self._user_id, self._rooms, self._socket)
        # The showing of the newest private news; None before the first.
        self._private: asyncio.Task[None] | None = None
        self._in_flight = asyncio.Semaphore(MAX_IN_FLIGHT)
        # Sends that wait for their acknowledgement.
        self._sends: set[asyncio.Task[None]] = set()
        # Other work besides the socket's own tasks, such as rights that are read again.
        self._tasks: set[asyncio.Task[None]] = set()
        self._refresher = Refresher(self._spawn)
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def user_id(self) -> int:
        return self._user_id

    async def serve(self) -> None:
        """Serve the socket to its end, then leave everything behind as it was found."""
        welcome = protocol.welcome(self._username)
        self._session = welcome["session"]
        self._hub.visits.add(self)
        self._hub.access.listen(self._user_id, self._access_changed)
        try:
            await self._subscription.join(f"user.{self._user_id}")
            # What changed between the handshake's look and the listener above has told nobody.
            self._spawn(until_answered(self._check_account))
            self._spawn(self._watch_expiry())
            self._socket.post(welcome)
            await self._socket.serve()
        finally:
            self._hub.unread.unfollow(self._follower)
            self._hub.access.unlisten(self._user_id, self._access_changed)
            self._subscription.close()
            tasks = [*self._tasks, *self._sends]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._leave_rooms()
            self._hub.visits.discard(self)
            # As in the socket: without a cycle all of this is freed at once.
            del self._refresher
            self._ended.set_result(None)

    async def drain(self, after: float) -> None:
        """Announce the end, serve on for `after` seconds, answer what is under way, and close: the client resumes
        elsewhere. Returns when the socket has been left."""
        self._socket.post(protocol.reconnect(after))
        await asyncio.wait([self._ended], timeout=after)
        if self._ended.done():
            return
        self._socket.stop_handling()
        if self._sends:
            await asyncio.wait(self._sends, timeout=ANSWER_DEADLINE)
        await self._socket.flush()
        self._socket.close(CloseCode.RESTART)
        await asyncio.wait([self._ended])

    async def _handle(self, frame: Frame) -> None:
        # Messages have a limit of their own, for all sockets of a person.
        if frame.get("type") != "send":
            require_here("frames", self._session)
        handler = HANDLERS.get(str(frame.get("type")))
        if handler is None:
            raise ChatError(ErrorCode.INVALID, f"There is no frame of the type {frame.get('type')!r:.50}.")
        try:
            await handler(self, frame)
        except ChatError as problem:
            if problem.code in NO_RIGHT:
                # The database was asked for it, and says the same the next time.
                require_here("refusals", self._user_id)
            raise

    # Client frames

    async def _subscribe(self, frame: Frame) -> None:
        id = protocol.require_id(frame)
        if frame.get("rooms") is True:
            await self._hub.access.read_blocks(self._user_id)
            await self._subscription.join(ROOM_LIST)
            self._follows_list = True
            self._hub.unread.follow(self._follower)
            self._socket.post({"type": "subscribed", "id": id, "rooms": True})
            return
        room = protocol.require_room(frame)
        after = None
        if frame.get("after") is not None:
            after = Cursor.parse(frame["after"], partition=self._hub.log.partition(room))
            require_here("resumes", self._user_id)
        newly = await self._become_member(room)
        await self._hub.access.read_blocks(self._user_id)
        if room in self._rooms and after is None:
            # Where this socket has come to, and not the log's end: what is between them follows.
            cursor = self._hub.log.cursor((await self._subscription.join(group_of(room))).live_from)
            self._socket.post(protocol.subscribed(id, room, cursor, recovered=True))
            self._enter(room, announce=False)
            return
        if room in self._rooms:
            await self._subscription.leave(group_of(room))
        try:
            may_read = partial(self._hub.access.require_member, self._user_id, room)
            blocked = partial(self._hub.access.blocked, self._user_id)
            stream = await enter_stream(
                self._hub.log, self._subscription, room, after, may_read=may_read, blocked=blocked
            )
        except Exception:
            # Half a subscription would be a silent hole; after the error that is answered now there is none.
            await self._end_stream(room)
            raise
        # No suspension between the join above and this post: the answer must stand before the stream's frames.
        self._socket.post(protocol.subscribed(id, room, stream.cursor, recovered=stream.recovered))
        self._socket.post_texts(stream.frames)
        self._rooms.add(room)
        try:
            # Somebody who was removed during all this was not in the room yet when the change was told.
            await self._check_room(room, "kicked")
            if room in self._rooms:
                await self._subscription.join(live_group(room))
        except Exception:
            # The person believes to be there, and may not.
            self._socket.close(CloseCode.RESTART)
            raise
        if room in self._rooms:
            self._enter(room, announce=not newly)

    def _enter(self, room: int, *, announce: bool) -> None:
        """Be counted among the people in the room, and show them to this socket; may be repeated."""
        show = partial(self._show_people, room)
        self._hub.attendance.enter(room, self._username, self._session, announce=announce, show=show)

    def _show_people(self, room: int, text: Text) -> None:
        if room in self._rooms:
            self._socket.post_texts([text])

    async def _become_member(self, room: int) -> bool:
        """Join a public room on the way; true when the person was no member before. Raises `ChatError`."""
        try:
            await self._hub.access.require_member(self._user_id, room)
        except ChatError as problem:
            if problem.code != ErrorCode.NOT_MEMBER:
                raise
            await in_database(self._join)(room)
            await self._hub.access.require_member(self._user_id, room)
            return True
        return False

    def _join(self, room: int) -> None:
        require("joins", self._user_id)
        join_room(room_id=room, user=self._user)

    async def _unsubscribe(self, frame: Frame) -> None:
        id = protocol.require_id(frame)
        if frame.get("rooms") is True:
            await self._subscription.leave(ROOM_LIST)
            self._follows_list = False
            self._hub.unread.unfollow(self._follower)
            self._socket.post({"type": "unsubscribed", "id": id, "rooms": True})
            return
        room = protocol.require_room(frame)
        await self._end_stream(room)
        self._socket.post({"type": "unsubscribed", "id": id, "room": room})

    async def _end_stream(self, room: int, *, last_word: Frame | None = None) -> None:
        await self._subscription.leave(group_of(room))
        await self._subscription.leave(live_group(room))
        if last_word is not None:
            # The person is told first.
            self._socket.post(last_word)
        if room in self._rooms:
            self._rooms.discard(room)
            self._hub.attendance.leave(room, self._username, self._session)

    async def _send(self, frame: Frame) -> None:
        message = protocol.parse_send(frame, protocol.require_room(frame))
        require_here("messages", self._user_id)
        if message.retry:
            # Its look-up takes a while; messages behind it must not overtake it.
            await self._hub.access.require_speaker(self._user_id, message.room)
            await self._deliver(message)
            return
        await self._in_flight.acquire()
        try:
            # Behind the wait for a free place: a right that was lost meanwhile is lost.
            await self._hub.access.require_speaker(self._user_id, message.room)
        except BaseException:
            self._in_flight.release()
            raise
        task = asyncio.create_task(self._deliver(message))
        self._sends.add(task)
        task.add_done_callback(self._delivered)

    def _delivered(self, task: "asyncio.Task[None]") -> None:
        self._sends.discard(task)
        self._in_flight.release()

    async def _deliver(self, message: SendFrame) -> None:
        try:
            may_speak = partial(self._hub.access.require_speaker, self._user_id, message.room)
            cursor = await send_message(
                self._hub.log, message, user=self._user_id, username=self._username, may_speak=may_speak
            )
        except ChatError as problem:
            self._socket.post_error(message.id, problem)
        else:
            self._socket.post(protocol.ack(message.id, message.room, cursor, message=message.id))

    async def _edit(self, frame: Frame) -> None:
        change = protocol.parse_edit(frame)
        require_here("messages", self._user_id)
        await self._hub.access.require_speaker(self._user_id, change.room)
        target = await find_target(self._hub.log, change)
        # The look-up may have taken a while; a right that was lost meanwhile is lost.
        await self._hub.access.require_speaker(self._user_id, change.room)
        await self._change(change, target, moderates=False)

    async def _delete(self, frame: Frame) -> None:
        change = protocol.parse_delete(frame)
        require_here("messages", self._user_id)
        await self._hub.access.require_member(self._user_id, change.room)
        target = await find_target(self._hub.log, change)
        access = await self._hub.access.require_member(self._user_id, change.room)
        await self._change(change, target, moderates=access.moderates)

    async def _change(self, change: ChangeFrame, target: Message, *, moderates: bool) -> None:
        cursor = await change_message(
            self._hub.log, change, target, user=self._user_id, username=self._username, moderates=moderates
        )
        self._socket.post(protocol.ack(change.id, change.room, cursor, message=change.message))

    async def _read(self, frame: Frame) -> None:
        room = protocol.require_room(frame)
        cursor = protocol.parse_read(frame, partition=self._hub.log.partition(room))
        await self._hub.access.require_member(self._user_id, room)
        self._hub.reads.note(self._user_id, room, await within_log(self._hub.log, room, cursor))

    async def _typing(self, frame: Frame) -> None:
        room = protocol.require_room(frame)
        await self._hub.access.require_speaker(self._user_id, room)
        await self._hub.typing.tell(room, self._username)

    # What the subscriptions bring

    def _show(self, item: Batch | Gap) -> Text | None:
        """The text of the frame for a batch; None when there is nothing to show at once."""
        renderer, blocked = self._hub.renderer, self._hub.access.blocked(self._user_id)
        if isinstance(item, Gap):
            self._fill_gap(item)
            return None
        match item.group.partition(".")[0]:
            case "room":
                return renderer.room_without(blocked, item) if blocked else item.render(renderer.room)
            case "live":
                return renderer.ephemeral_without(blocked, item) if blocked else item.render(renderer.ephemeral)
            case "rooms":
                news = item.render(renderer.room_list)
                if news.private:
                    members = item.render(self._hub.read_private_members)
                    self._private = self._spawn(self._show_private(news.private, members, behind=self._private))
                return news.text
            case "user":
                item.render(self._hub.act_on_access_changes)
        return None

    def _fill_gap(self, gap: Gap) -> None:
        """A member that fell off its ring resumes by cursor on a new socket; nothing of what was missed matters for
        the ephemeral groups, and rights are read again."""
        prefix = gap.group.partition(".")[0]
        if prefix in {"room", ROOM_LIST}:
            self._socket.close(CloseCode.TOO_SLOW)
        elif prefix == "user":
            self._hub.access.invalidate(self._user_id, None, "signed_out")

    async def _show_private(
        self, news: PrivateNews, members: "asyncio.Task[Members]", *, behind: "asyncio.Task[None] | None"
    ) -> None:
        """Pass on what is new about private rooms that the person is a member of, in the order of the batches."""
        if behind is not None:
            await asyncio.wait([behind])
        known = await asyncio.shield(members)
        for room, frame in news:
            if (room, self._user_id) in known and self._follows_list:
                self._socket.post(_as_seen_by(self._username, frame))

    # Rights

    def _access_changed(self, room: int | None, reason: str) -> None:
        if reason == ADDED and room is not None:
            self._left.discard(room)
            if self._follows_list:
                self._refresher.read(("room_created", room), partial(self._show_in_list, room, "room_created"))
            return
        if room is None:
            self._spawn(until_answered(partial(self._hub.access.read_blocks, self._user_id, again=True)))
        if reason == blocks.REASON:
            return
        if room is None:
            self._spawn(until_answered(self._check_account))
        elif reason == "role" and self._follows_list:
            self._refresher.read(("room_updated", room), partial(self._show_in_list, room, "room_updated"))
        for concerned in list(self._rooms) if room is None else [room]:
            if concerned in self._rooms or (self._follows_list and reason in LEFT):
                self._refresher.read(("rights", concerned), partial(self._check_room, concerned, reason))

    async def _check_account(self) -> None:
        account = await self._hub.access.read_account(self._user_id)
        if account is None or not account.is_active:
            self._socket.close(CloseCode.DEACTIVATED)
        elif account.token_generation != self._user.token_generation or await self._sign_in_has_ended():
            self._socket.close(CloseCode.SIGNED_OUT)

    async def _sign_in_has_ended(self) -> bool:
        if self._expires is not None and self._expires <= time.time():
            return True
        return self._session_key is not None and not await in_database(session_is_alive)(self._session_key)

    async def _watch_expiry(self) -> None:
        """Nobody is told when a session or a token expires: the socket looks when its token does, and now and then."""
        while True:
            # At random, so that all who came back after an outage do not look at once.
            pause = random.uniform(0.5, 1) * LOOK_INTERVAL  # noqa: S311 (no secret)
            if self._expires is not None:
                pause = min(pause, max(self._expires - time.time(), 0) + 0.1)
            await asyncio.sleep(pause)
            with suppress(DatabaseError, InterfaceError):
                await self._check_account()

    async def _check_room(self, room: int, reason: str) -> None:
        try:
            await self._hub.access.require_member(self._user_id, room)
        except ChatError as problem:
            if problem.code == ErrorCode.UNAVAILABLE:
                return
            # What ended a whole account's rights is no reason of a room's.
            reason = reason if reason in ROOM_REASONS else "kicked"
            removed = {"type": "removed", "room": room, "reason": reason}
            if room in self._rooms:
                self._left.add(room)
                await self._end_stream(room, last_word=removed)
            elif self._follows_list and room not in self._left:
                # The list is told of a room that is not open as well. Event and row both bring the change here.
                self._left.add(room)
                self._socket.post(removed)

    async def _show_in_list(self, room: int, type: str) -> None:
        """A private room appears in the list of somebody who was added to it; public ones are there already. The list
        also shows a new role."""
        state = await in_database(room_state_for)(room, self._user)
        # None: removed again. A late word of the adding must undo nothing.
        if state is not None and (type == "room_updated" or state["kind"] != Room.Kind.PUBLIC):
            self._socket.post({"type": type, "room": state})

    # The end

    def _leave_rooms(self) -> None:
        """Announce the end of a socket that was closed; a connection that was lost keeps its leases for a while."""
        attendance = self._hub.attendance
        end = attendance.leave if self._socket.was_closed else attendance.lose
        for room in self._rooms:
            end(room, self._username, self._session)
        self._rooms.clear()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("Work for a socket failed.", exc_info=task.exception())
            self._socket.close(CloseCode.RESTART)


# By the type of the client frame.
HANDLERS: Mapping[str, Callable[[Visit, Frame], Awaitable[None]]] = {
    "subscribe": Visit._subscribe,
    "unsubscribe": Visit._unsubscribe,
    "send": Visit._send,
    "edit": Visit._edit,
    "delete": Visit._delete,
    "read": Visit._read,
    "typing": Visit._typing,
}


def _as_seen_by(username: str, frame: Frame) -> Frame:
    """A frame of the room list as one of a private room's members sees it."""
    room = frame["room"]
    return frame if isinstance(room, int) else {**frame, "room": as_seen_by(username, room)}

"""What has become new in rooms, told to the web processes once it is stored.

They read it as one group, whatever the room, and pass it on to the members who are connected there
(`messaging.unread`).
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from confluent_kafka import KafkaException
from django.db import DatabaseError, InterfaceError, close_old_connections, connection

from events.envelope import Envelope, time_text
from events.producing import OutgoingRecord
from events.schemas import EventType
from events.topics import Topic
from messaging.last_message import LastMessage
from rooms.models import ReadMark
from rooms.services import mark_read

if TYPE_CHECKING:
    from messaging.storage import Row

logger = logging.getLogger(__name__)

# The group, and the key, of what is told here.
ACTIVITY = "activity"
INTERVAL = 1.0  # seconds between two times that a room is told of
MAX_FRAMES = 10_000  # last messages that wait to be told; what comes on top is told by its number only
MAX_SENDERS = 100_000  # (person, room) that wait to be marked
MARKS_IN_RECORD = 1000

# Puts records on a topic and returns when Kafka has them. Raises `KafkaException`.
Produce = Callable[[str, Iterable[OutgoingRecord]], None]


class RoomActivity:
    """Tells of each room at most once a second, and of its newest message always; whoever says something has read all
    before it, which is written down here as well.

    Its own thread does the work, so storing does not wait for it. What waits when the process is killed is lost: the
    room's next message tells it.
    """

    def __init__(self, produce: Produce) -> None:
        self._produce = produce
        self._lock = Lock()
        # room pk → its newest message, not told yet.
        self._waiting: dict[int, LastMessage] = {}
        # (user pk, room pk) → number of the person's newest message there, not marked yet; the oldest stands first.
        self._said: dict[tuple[int, int], int] = {}
        self._news = Event()
        self._closing = Event()
        self._thread = Thread(target=self._run, name="room-activity", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Tell what waits, and end."""
        self._closing.set()
        self._news.set()
        self._thread.join()

    def note(self, newest: Mapping[int, LastMessage], rows: "Iterable[Row]") -> None:
        """Rows were stored, and these are the last messages of their rooms now."""
        with self._lock:
            for room, message in newest.items():
                keep = room in self._waiting or len(self._waiting) < MAX_FRAMES
                self._waiting[room] = message if keep else message._replace(frame=None)
            for row in rows:
                if row.seq is not None and row.sender_id is not None:
                    self._said[row.sender_id, row.room] = row.seq
            while len(self._said) > MAX_SENDERS:
                del self._said[next(iter(self._said))]
        self._news.set()

    def _run(self) -> None:
        while True:
            self._news.wait()
            self._news.clear()
            ending = self._closing.is_set()
            try:
                self._tell()
            except Exception:
                # The next messages of these rooms tell it; without this thread nobody would hear of any.
                logger.exception("What is new in rooms was not told.")
            if ending:
                connection.close()
                return
            self._closing.wait(INTERVAL)

    def _tell(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, {}
            said, self._said = self._said, {}
        # The marks first: one's own message never counts.
        try:
            close_old_connections()
            marks = mark_read([ReadMark(user, room, seq) for (user, room), seq in said.items()]) if said else []
        except (DatabaseError, InterfaceError) as error:
            logger.warning("The read marks of %d people who said something are written later: %s", len(said), error)
            self._put_back({}, said)
            marks = []
        records = [_record(envelope) for envelope in (*read_envelopes(marks), *map(_activity, waiting.items()))]
        try:
            self._produce(Topic.ROOM_NOTIFICATION.value, records)
        except (KafkaException, BufferError) as error:
            logger.warning("The news of %d rooms are told later: %s", len(waiting), error)
            self._put_back(waiting, {})

    def _put_back(self, waiting: Mapping[int, LastMessage], said: Mapping[tuple[int, int], int]) -> None:
        """Try it again in the next turn; what is newer stays."""
        with self._lock:
            self._waiting = {**waiting, **self._waiting}
            self._said = {**said, **self._said}
        self._news.set()


def read_envelopes(marks: Sequence[ReadMark]) -> list[Envelope]:
    """The events that tell of marks which were moved."""
    told = [{"user_id": mark.user_id, "room": mark.room, "seq": mark.seq} for mark in marks]
    return [
        _envelope(EventType.ROOM_READ, "read", {"marks": told[start : start + MARKS_IN_RECORD]})
        for start in range(0, len(told), MARKS_IN_RECORD)
    ]


def _activity(item: tuple[int, LastMessage]) -> Envelope:
    room, (version, seq, frame) = item
    data = {"room": room, "seq": seq, "last_message": frame}
    return _envelope(EventType.ROOM_ACTIVITY, f"room/{room}", data, version=version)


def _envelope(type: EventType, subject: str, data: dict[str, Any], version: int | None = None) -> Envelope:
    time = time_text(datetime.now(UTC))
    return Envelope(id=str(uuid4()), type=type.value, subject=subject, time=time, version=version, data=data)


def _record(envelope: Envelope) -> OutgoingRecord:
    return OutgoingRecord(ACTIVITY, envelope.encode(), {"id": envelope.id, "type": envelope.type})

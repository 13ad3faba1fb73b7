"""What the database has just said about people, so that a program's calls do not ask it again each time."""

from collections import OrderedDict
from threading import Lock
from time import monotonic
from typing import Any

from accounts.models import User

MAX_AGE = 1.0  # seconds; with the time that a call takes, a right that was taken away is gone within 2 s
MAX_PEOPLE = 10_000
# The password is read when it is asked for: a hash in memory could only be old.
COLUMNS = [field.attname for field in User._meta.concrete_fields if field.attname != "password"]


class KnownPeople:
    """People by pk, at most `max_age` seconds old. Usable from any thread; each call gets an instance of its own."""

    def __init__(self, *, max_age: float = MAX_AGE, max_people: int = MAX_PEOPLE) -> None:
        self._max_age = max_age
        self._max_people = max_people
        # pk → (monotonic time before the question, the row in the order of COLUMNS or None for nobody), oldest first.
        self._rows: OrderedDict[int, tuple[float, tuple[Any, ...] | None]] = OrderedDict()
        self._lock = Lock()

    def get(self, pk: int) -> User | None:
        """The person with this pk, asked for when it was not lately."""
        with self._lock:
            asked_at, row = self._rows.get(pk, (-self._max_age, None))
        if monotonic() - asked_at >= self._max_age:
            row = self._ask(pk)
        return None if row is None else User.from_db(None, COLUMNS, row)

    def forget(self, pk: int) -> None:
        """Ask anew next time; what is being asked at this moment may still be kept for `max_age`."""
        with self._lock:
            self._rows.pop(pk, None)

    def _ask(self, pk: int) -> tuple[Any, ...] | None:
        # The time before: the answer may be as old as the question.
        asked_at = monotonic()
        row: tuple[Any, ...] | None = User.objects.filter(pk=pk).values_list(*COLUMNS).first()
        with self._lock:
            self._rows[pk] = asked_at, row
            self._rows.move_to_end(pk)
            while len(self._rows) > self._max_people:
                self._rows.popitem(last=False)
        return row


known_people = KnownPeople()

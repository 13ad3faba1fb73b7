"""What the database has just said about people, so that a program's calls do not ask it again each time."""

from collections import OrderedDict
from collections.abc import Collection
from threading import Lock
from time import monotonic
from typing import Any

from accounts.models import User

MAX_AGE = 1.0  # seconds; with the time that a call takes, a right that was taken away is gone within 2 s
MAX_PEOPLE = 10_000
# The password is read when it is asked for: a hash in memory could only be old.
COLUMNS = [field.attname for field in User._meta.concrete_fields if field.attname != "password"]
PK = COLUMNS.index(User._meta.pk.attname)

Row = tuple[Any, ...]


class KnownPeople:
    """People by pk, at most `max_age` seconds old. Usable from any thread; each call gets an instance of its own."""

    def __init__(self, *, max_age: float = MAX_AGE, max_people: int = MAX_PEOPLE) -> None:
        self._max_age = max_age
        self._max_people = max_people
        # pk → (monotonic time before the question, the row in the order of COLUMNS or None for nobody), oldest first.
        self._rows: OrderedDict[int, tuple[float, Row | None]] = OrderedDict()
        self._lock = Lock()

    def get(self, pk: int) -> User | None:
        """The person with this pk, asked for when it was not lately."""
        return self.get_many([pk]).get(pk)

    def get_many(self, pks: Collection[int]) -> dict[int, User]:
        """Those of the pks that are somebody's; who was not asked for lately is, with one query."""
        now = monotonic()
        with self._lock:
            known = {pk: self._rows[pk] for pk in pks if pk in self._rows}
        rows = {pk: row for pk, (asked_at, row) in known.items() if now - asked_at < self._max_age}
        rows |= self._ask([pk for pk in pks if pk not in rows])
        return {pk: User.from_db(None, COLUMNS, row) for pk, row in rows.items() if row is not None}

    def forget(self, pk: int) -> None:
        """Ask anew next time; what is being asked at this moment may still be kept for `max_age`."""
        with self._lock:
            self._rows.pop(pk, None)

    def _ask(self, pks: Collection[int]) -> dict[int, Row | None]:
        if not pks:
            return {}
        # The time before: the answer may be as old as the question.
        asked_at = monotonic()
        found: dict[int, Row] = {row[PK]: row for row in User.objects.filter(pk__in=pks).values_list(*COLUMNS)}
        answers = {pk: found.get(pk) for pk in pks}
        with self._lock:
            for pk, row in answers.items():
                self._rows[pk] = asked_at, row
                self._rows.move_to_end(pk)
            while len(self._rows) > self._max_people:
                self._rows.popitem(last=False)
        return answers


known_people = KnownPeople()

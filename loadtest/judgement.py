"""What is missing, judged when everything is known: the receipts and acknowledgements of all workers."""

from bisect import bisect_left, bisect_right
from collections import Counter
from itertools import accumulate

from loadtest.plan import Key, Plan
from loadtest.roomlog import RoomRecord


def missing(plan: Plan, record: RoomRecord) -> Counter[Key]:
    """Messages that receivers wait for in vain → how many receivers."""
    log = sorted((place, key) for key, place in record.places.items())
    places = [place for place, _ in log]
    found: Counter[Key] = Counter()
    for (before, after), count in record.links.items():
        for _, key in log[bisect_right(places, before) : bisect_left(places, after)]:
            found[key] += count
    for last, count in record.tails.items():
        for _, key in log[bisect_right(places, last) :]:
            found[key] += count
    for key, count in _hidden(plan, record, [key for _, key in log], places).items():
        found[key] += count
    found.subtract(record.late)
    return +found


def disordered(record: RoomRecord) -> int:
    """Messages that stand in the log behind a later one of their sender."""
    nexts = ((key, place, record.places.get(Key(key.sender, key.n + 1))) for key, place in record.places.items())
    return sum(after is not None and after < place and key not in record.resent for key, place, after in nexts)


def _hidden(plan: Plan, record: RoomRecord, log: list[Key], places: list[int]) -> Counter[Key]:
    """Messages that were sent when a receiver was subscribed already, and yet stand before its start."""
    latest = list(accumulate((plan.sent_at(key) for key in log), max))
    found: Counter[Key] = Counter()
    for start, time in record.starts:
        end = bisect_right(places, start)
        if end and latest[end - 1] >= time:
            found.update(key for key in log[:end] if plan.sent_at(key) >= time)
    return found

"""What must not have happened in a run, a sentence each."""

from dataclasses import dataclass
from math import inf

from loadtest.outcome import Outcome
from loadtest.plan import Plan

MOST_LAG = 100.0  # milliseconds


@dataclass(frozen=True)
class Limits:
    """What is let pass. Latencies and lag are in milliseconds; None of a latency: any."""

    lost: int = 0
    twice: int = 0
    out_of_order: int = 0
    foreign: int = 0
    unacknowledged: int = 0
    gaps: int = 0
    errors: int = 0
    p50: float | None = None
    p99: float | None = None
    # Seconds that a message waits to be stored; None: any.
    storage_lag: float | None = None
    # Of the generator: percent of the sends that it made late, the 99th percentile of its loops' lag (None: `MOST_LAG`,
    # or half of `p99`), and percent of a core that its busiest worker took while all talked.
    late: float = 1.0
    lag: float | None = None
    cpu: float = 90.0


def violations(plan: Plan, outcome: Outcome, limits: Limits) -> list[str]:
    """What the server did; empty for a run without fault."""
    counted = [
        (len(outcome.unacknowledged), limits.unacknowledged, "messages were not acknowledged"),
        (outcome.gaps, limits.gaps, "gaps were told by the server"),
        (plan.users - outcome.joined, 0, "users did not get into their room"),
        (outcome.cut - outcome.returning.count, 0, "users did not come back after the storm"),
        (outcome.rooms_lost, 0, "followers of the room list were not shown a created room"),
    ]
    found = [*faults(outcome, limits), *_exceeded(counted)]
    if outcome.errors.total() > limits.errors:
        found += [f"{count} times: {error}." for error, count in outcome.errors.items()]
    for percentile, limit in ((50, limits.p50), (99, limits.p99)):
        measured = outcome.delivery.at(percentile) * 1000
        if limit is not None and measured > limit:
            found.append(f"The p{percentile} of the delivery is {measured:.1f} ms, and {limit:g} ms are allowed.")
    return [*found, *_storage_violations(outcome.storage_lag, limits.storage_lag)]


def faults(outcome: Outcome, limits: Limits) -> list[str]:
    """Those of the violations that no busy generator makes."""
    return _exceeded(
        [
            (outcome.lost, limits.lost, "receipts are missing of messages that were acknowledged"),
            (outcome.twice, limits.twice, "messages came twice"),
            (outcome.out_of_order, limits.out_of_order, "messages came out of order"),
            (outcome.foreign, limits.foreign, "messages came that nobody of this run said, or not so"),
        ]
    )


def _exceeded(counted: list[tuple[int, int, str]]) -> list[str]:
    return [f"{count} {what}." for count, limit, what in counted if count > limit]


def _storage_violations(lag: float | None, limit: float | None) -> list[str]:
    if limit is None:
        return []
    if lag is None:
        return ["The server does not tell how far storing is behind: --metrics names the event consumer's."]
    return [f"Storing was {lag:.1f} s behind, and {limit:g} s are allowed."] if lag > limit else []


def weaknesses(outcome: Outcome, limits: Limits) -> list[str]:
    """Why this generator, and not the server, was the limit; the figures of such a run say nothing about the server."""
    late = 100 * outcome.late / max(1, outcome.sent)
    lag = outcome.lag * 1000
    lag_limit = min(MOST_LAG, (limits.p99 or inf) / 2) if limits.lag is None else limits.lag
    cpu = 100 * outcome.busiest
    found = [
        (late, limits.late, f"{late:.1f} % of the sends left late, at most {outcome.latest * 1000:.0f} ms"),
        (lag, lag_limit, f"its event loops lagged by {lag:.0f} ms (p99)"),
        (cpu, limits.cpu, f"its busiest worker took {cpu:.0f} % of a core"),
    ]
    return [f"The generator is the limit: {what}." for measured, limit, what in found if measured > limit]

"""The outcome in words."""

from loadtest.latencies import Latencies
from loadtest.outcome import Outcome
from loadtest.plan import Plan

PERCENTILES = (50, 90, 95, 99, 99.9, 100)


def render(plan: Plan, outcome: Outcome) -> str:
    """The whole report; latencies are those of messages that were to be sent while all users talk."""
    columns = "".join(f"{'max' if percentile == 100 else f'p{percentile:g}':>9}" for percentile in PERCENTILES)
    return "\n".join(
        [
            f"{plan.users} users in {plan.rooms} rooms, {plan.rate:g} messages/s each of {plan.length} characters, "
            f"ramp {plan.ramp:g} s, steady {plan.seconds:g} s",
            f"joined {outcome.joined}, sent {outcome.sent}, acknowledged {outcome.acknowledged}, "
            f"received {outcome.received}",
            f"reconnects {outcome.reconnects}, sends refused and tried again {outcome.refusals}, "
            f"sent late by this generator {outcome.late} (at most {outcome.latest * 1000:.0f} ms)",
            f"{'milliseconds':<16}{columns}{'count':>10}",
            _line("delivery", outcome.delivery),
            _line("acknowledgement", outcome.acknowledgement),
            _line("joining", outcome.joining),
            f"lost {outcome.lost}, twice {outcome.twice}, out of order {outcome.out_of_order}, "
            f"foreign {outcome.foreign}, unacknowledged {len(outcome.unacknowledged)}, gaps {outcome.gaps}, "
            f"errors {outcome.errors.total()}",
        ]
    )


def violations(plan: Plan, outcome: Outcome) -> list[str]:
    """What must not have happened, a sentence each; empty for a run without fault."""
    found = {
        "receipts are missing of messages that were acknowledged": outcome.lost,
        "messages came twice": outcome.twice,
        "messages came out of order": outcome.out_of_order,
        "messages came that nobody of this run said, or not so": outcome.foreign,
        "messages were not acknowledged": len(outcome.unacknowledged),
        "gaps were told by the server": outcome.gaps,
        "users did not get into their room": plan.users - outcome.joined,
        **{f"times: {error}": count for error, count in outcome.errors.items()},
    }
    return [f"{count} {what}." for what, count in found.items() if count]


def _line(name: str, latencies: Latencies) -> str:
    figures = "".join(f"{latencies.at(percentile) * 1000:>9.1f}" for percentile in PERCENTILES)
    return f"{name:<16}{figures}{latencies.count:>10}"

"""The outcome in words, and the progress in a line."""

from loadtest.latencies import Latencies
from loadtest.outcome import Outcome
from loadtest.plan import Plan
from loadtest.run import Run
from loadtest.timeline import Second

PERCENTILES = (50, 90, 95, 99, 99.9, 100)


def percentile_name(percentile: float) -> str:
    return "max" if percentile == 100 else f"p{percentile:g}"


def latency_rows(outcome: Outcome) -> dict[str, Latencies]:
    """Those that were measured, by name."""
    rows = {
        "delivery": outcome.delivery,
        "acknowledgement": outcome.acknowledgement,
        "joining": outcome.joining,
        "returning": outcome.returning,
        "room creation": outcome.creation,
    }
    return {name: latencies for name, latencies in rows.items() if latencies.count}


def describe(plan: Plan) -> str:
    length = f"{plan.length} to {plan.longest}" if plan.longest else str(plan.length)
    said = [
        f"{plan.users} users in {plan.rooms} rooms, {plan.rate:g} messages/s each of {length} characters, "
        f"ramp {plan.ramp:g} s, steady {plan.seconds:g} s"
    ]
    said += [f"Zipf {plan.zipf:g}"] if plan.zipf else []
    said += [f"{plan.memberships} memberships each"] if plan.memberships > 1 else []
    said += ["following the room list"] if plan.follow else []
    shares = {"read slowly": plan.slow, "never read": plan.deaf, "come and go": plan.comers}
    said += [f"{share:.0%} {what}" for what, share in shares.items() if share]
    said += [f"all cut after {plan.storm:g} s"] if plan.storm else []
    said += [f"{plan.creations:g} rooms/s created"] if plan.creations else []
    return ", ".join(said)


def counts(outcome: Outcome) -> list[str]:
    """What was counted, a line each."""
    per_frame = outcome.received / outcome.frames if outcome.frames else 0.0
    lines = [
        f"joined {outcome.joined}, sent {outcome.sent}, acknowledged {outcome.acknowledged}, "
        f"received {outcome.received} ({per_frame:.1f} messages a frame)",
        f"reconnects {outcome.reconnects}, sends refused and tried again {outcome.refusals}",
        f"generator: sent late {outcome.late} (at most {outcome.latest * 1000:.0f} ms), loop lag p99 "
        f"{outcome.lag * 1000:.0f} ms, busiest worker {outcome.busiest:.0%} of a core",
    ]
    if outcome.cut:
        last = f", the last after {outcome.returning.at(100):.1f} s" if outcome.returning.count else ""
        lines.append(f"cut {outcome.cut}, back {outcome.returning.count}{last}")
    lines += [f"storage at most {outcome.storage_lag:.1f} s behind"] if outcome.storage_lag is not None else []
    lines += [f"created {len(outcome.created)} rooms, {outcome.followers} followers"] if outcome.created else []
    for name, counter in (("other frames", outcome.others), ("closes", outcome.closes)):
        if counter:
            lines.append(f"{name}: " + ", ".join(f"{what} {count}" for what, count in counter.most_common()))
    return lines


def violation_line(outcome: Outcome) -> str:
    return (
        f"lost {outcome.lost}, twice {outcome.twice}, out of order {outcome.out_of_order}, foreign {outcome.foreign}, "
        f"unacknowledged {len(outcome.unacknowledged)}, gaps {outcome.gaps}, errors {outcome.errors.total()}"
    )


def render(run: Run) -> str:
    """The whole report; latencies are those of messages that were to be sent while all users talk."""
    columns = "".join(f"{percentile_name(percentile):>9}" for percentile in PERCENTILES)
    rows = [_line(name, latencies) for name, latencies in latency_rows(run.outcome).items()]
    return "\n".join(
        [describe(run.plan), *counts(run.outcome), f"{'milliseconds':<16}{columns}{'count':>10}", *rows,
         *server_lines(run), violation_line(run.outcome)]
    )  # fmt: skip


def server_lines(run: Run) -> list[str]:
    """Per process of the server that was watched: CPU, and memory before and at the end of the steady time; what an
    idle socket costs, where nothing else was going on."""
    steady = [second for second in run.timeline.in_order() if run.timeline.phase(second) == "steady"]
    lines = []
    for name, before in run.timeline.before.items():
        seen = [second.processes[name] for second in steady if name in second.processes]
        if seen:
            shares, memory = [share for share, _ in seen], seen[-1][1]
            line = (
                f"{name}: {sum(shares) / len(shares):.0%} of a core (at most {max(shares):.0%}), "
                f"memory {before / 2**20:.0f} → {memory / 2**20:.0f} MiB"
            )
            per_socket = (memory - before) / run.plan.users / 1024
            lines.append(line if run.plan.rate else f"{line}, {per_socket:.1f} KiB per socket")
    return lines


def progress_line(phase: str, second: Second) -> str:
    p99 = f", p99 {second.delivery[99] * 1000:.0f} ms" if second.delivery else ""
    cpu = " ".join(f"{progress.cpu:.0%}" for _, progress in sorted(second.workers.items()))
    return (
        f"{second.second:4} s {phase:<7}joined {second.total('joined')}, sent {second.total('sent')}, acknowledged "
        f"{second.total('acknowledged')}, received {second.total('received')}{p99}, errors {second.total('errors')}, "
        f"generator {cpu}"
    )


def _line(name: str, latencies: Latencies) -> str:
    figures = "".join(f"{latencies.at(percentile) * 1000:>9.1f}" for percentile in PERCENTILES)
    return f"{name:<16}{figures}{latencies.count:>10}"

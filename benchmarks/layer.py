"""The channel layer beside channels_redis, in one run, over real servers: `python -m benchmarks.layer`.

Writes its tables into kafka_layer/README.md. Takes about six minutes.
"""

import argparse
import os
from collections.abc import Iterator, Sequence

from redis import Redis

from benchmarks.contestants import ALL, CORE, PLAIN, PUBLISHED, PUBSUB, Contestant
from benchmarks.report import conditions, write_between_markers
from benchmarks.servers import Servers, add_arguments, create_topics, delete_topics, running_servers
from benchmarks.trial import IDLE, RATE, SATURATED, Burst, Result, run, run_burst
from devstack.jars import VERSION as KAFKA_VERSION
from loadtest.report.markdown import table

RATES = [(1, 100), (100, 100), (1000, 10)]  # members, messages a second
MEMBERS = [1, 100, 1000]
FAULTS = "missing · twice · disordered"
QUIET_LOAD = 0.5  # load average, below which nothing else worth mentioning runs
BUSY = """\
**The machine was busy with other work. Latencies, and all that is counted for each second of wall time, are not valid
figures of any of these layers, nor a comparison of them: whoever makes more round trips for a message, above all
channels_redis core, suffers most from waiting for a processor. CPU time may be compared, roughly: waiting also lets
messages pile up, which favours whoever shares work among them.**"""
NOTE = """\
Sender and members are two processes; each receipt of each member is checked. All layers with a capacity have 100,000,
so that none has to drop (channels_redis core drops above 100 by default). Redis writes nothing to disk, Kafka does. A
member with `receive` gets a dict of its own with each message from kafka_layer and pubsub, and one that all members
share from channels_redis core; members with subscriptions get batches that all share. CPU is that of all members'
process, of the sender's and of the server. What has not come when nothing came for 10 s counts as missing: on a
starved machine that may be late or expired (60 s) and need not be a fault of the layer."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    with running_servers(arguments) as servers:
        topics = create_topics(servers.kafka, 2)
        for contestant in ALL:  # the first traffic of a new server is slow
            run(contestant, servers, topics, members=10, mode=SATURATED, seconds=1)
        text = "\n\n".join(measure(servers, topics, arguments.seconds, load))
        write_between_markers("benchmark", text)
        delete_topics(servers.kafka, topics)


def measure(servers: Servers, topics: list[str], seconds: float, load: float) -> Iterator[str]:
    def trial(contestant: Contestant, members: int, mode: str, rate: float = 0) -> Result:
        result = run(contestant, servers, topics, members=members, mode=mode, seconds=seconds, rate=rate)
        print(mode, members, contestant.name, f"{result.deliveries:,.0f}/s;", FAULTS, result.faults, flush=True)
        return result

    at_rate = [trial(c, members, RATE, rate) for members, rate in RATES for c in (CORE, PUBSUB, PLAIN, PUBLISHED)]
    saturated = [trial(c, members, SATURATED) for members in MEMBERS for c in ALL]
    bursts = [run_burst(c, servers, topics) for c in (CORE, PUBSUB, PLAIN, PUBLISHED)]
    idle = [trial(c, 100, IDLE) for c in ALL]
    yield conditions(["channels", "channels_redis", "redis", "confluent-kafka"], server_versions(servers), load)
    if load >= QUIET_LOAD:
        yield BUSY
    yield NOTE
    yield "**Latency**, from just before the call until the member has the message; CPU as µs for each delivery:"
    yield latency_table(at_rate)
    yield ratios(at_rate)
    yield "**Deliveries** as fast as they go, at most 200 messages under way; a core is one CPU second of the members:"
    yield deliveries_table(saturated)
    yield ratios(saturated)
    yield "**Sending** 20,000 messages to a group with one member, 50 at a time, until the layer is closed:"
    yield sending_table(bursts)
    yield "**Idle** with 100 members, as a share of one core:"
    yield idle_table(idle)


def server_versions(servers: Servers) -> str:
    with Redis.from_url(servers.redis) as redis:
        redis_version = redis.info("server")["redis_version"]
    kafka = f"Apache Kafka {KAFKA_VERSION} (one broker)" if servers.kafka_pid else "Kafka"
    return f"{kafka} and Redis {redis_version}"


def latency_table(results: Sequence[Result]) -> str:
    head = ["members × messages/s", "layer", "sent by", "p50 ms", "p99 ms", "deliveries/s",
            "CPU of members", "of sender", "of server", FAULTS]  # fmt: skip
    return table(head, [latency_row(result) for result in results])


def latency_row(result: Result) -> list[object]:
    contestant = result.contestant
    cpu = [result.receiver_cpu, result.sender_cpu, result.server_cpu]
    return [
        f"{result.members:,} × {result.rate:.0f}",
        contestant.name,
        f"`{contestant.send}`",
        f"{result.median:.1f}",
        f"{result.percentile(0.99):.1f}",
        f"{result.deliveries:,.0f}",
        *(micros(seconds, result.deliveries) for seconds in cpu),
        result.faults,
    ]


def deliveries_table(results: Sequence[Result]) -> str:
    head = ["members", "layer", "messages/s", "deliveries/s", "per core", "CPU of members",
            "of sender", "of server", FAULTS]  # fmt: skip
    return table(head, [deliveries_row(result) for result in results])


def deliveries_row(result: Result) -> list[object]:
    cpu = [result.receiver_cpu, result.sender_cpu, result.server_cpu]
    return [
        f"{result.members:,}",
        result.contestant.name,
        f"{result.sends:,.0f}",
        f"{result.deliveries:,.0f}",
        f"{result.per_core:,.0f}",
        *(micros(seconds, result.deliveries) for seconds in cpu),
        result.faults,
    ]


def ratios(results: Sequence[Result]) -> str:
    """Deliveries for each CPU second, against channels_redis."""
    head = ["members", "layer", "CPU of", "× channels_redis core", "× pubsub"]
    rows: list[list[object]] = []
    for n in range(0, len(results), len(ALL)):
        core, pubsub, *ours = results[n : n + len(ALL)]
        for result in ours:
            case = [f"{result.members:,}", result.contestant.name]
            rows.append([*case, "members", *times(result.per_core, core.per_core, pubsub.per_core)])
            everything = times(result.per_core_of_all, core.per_core_of_all, pubsub.per_core_of_all)
            rows.append([*case, "all three processes", *everything])
    return f"Deliveries for each CPU second against those of channels_redis:\n\n{table(head, rows)}"


def times(ours: float | None, *theirs: float | None) -> list[str]:
    return [f"{ours / other:,.1f}" if ours and other else "–" for other in theirs]


def sending_table(bursts: Sequence[Burst]) -> str:
    head = ["layer", "sent by", "messages/s", "CPU of sender, µs each", "missing", "twice"]
    return table(
        head,
        [
            [
                burst.contestant.name,
                f"`{burst.contestant.send}`",
                f"{burst.sends:,.0f}",
                f"{burst.cpu * 1e6:.0f}",
                burst.lost,
                burst.twice,
            ]
            for burst in bursts
        ],
    )


def idle_table(results: Sequence[Result]) -> str:
    head = ["layer", "CPU of members", "of server", "memory of members MB"]
    return table(
        head,
        [
            [
                result.contestant.name,
                f"{result.receiver_cpu:.2%}",
                "–" if result.server_cpu is None else f"{result.server_cpu:.2%}",
                f"{result.memory / 1e6:.0f}",
            ]
            for result in results
        ],
    )


def micros(cpu: float | None, deliveries: float) -> str:
    return "–" if cpu is None else f"{cpu / deliveries * 1e6:,.2f}"


if __name__ == "__main__":
    main()

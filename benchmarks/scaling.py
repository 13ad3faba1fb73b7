"""What a chat of a given size needs, from measured unit costs: `python -m benchmarks.scaling`.

Measures the costs on uvicorn (four minutes), calculates, and writes docs/scaling.md. With `--no-measuring` the costs
that stand there are taken; `--users`, `--rate` and `--room` calculate another chat and write nothing.
"""

import argparse
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.load import DATA, PORT, ROOT, WARM_UP, Cores, load, running_chat, steady_seconds, web_figures
from benchmarks.report import conditions, write_between_markers
from devstack.jars import VERSION as KAFKA_VERSION
from loadtest.report.markdown import table

DOCUMENT = ROOT / "docs" / "scaling.md"
BUSY = 0.6  # of a core, or of anything else, that is planned with: the rest is for peaks and lost processes
USERS = (1_000, 10_000, 100_000, 1_000_000)


@dataclass(frozen=True)
class Costs:
    """Of one web process: CPU in seconds, sizes in bytes."""

    socket: float  # a second of an idle socket
    message: float  # taking a message in: checks, publishing, acknowledging
    delivery: float  # showing it to one person, one message a frame
    socket_bytes: float
    delivery_bytes: float  # on the wire, with what else is sent
    # From kafka_layer/README.md and docs/storing.md: a record in every process's ring, and rows an event consumer
    # stores a second with the search index.
    record: float = 7e-6
    stored: float = 10_000
    process_bytes: float = 150e6
    record_bytes: float = 450  # in Kafka, with its headers, before lz4
    ring_bytes: float = 1_100  # of a record in a process, with its JSON


@dataclass(frozen=True)
class Chat:
    """`rate`: messages a second and user; `room`: people online who see each message."""

    users: int
    rate: float
    room: int

    @property
    def messages(self) -> float:
        return self.users * self.rate


@dataclass(frozen=True)
class Need:
    """None: each web process would be busy with the log alone."""

    processes: int | None
    web_memory: float | None
    web_network: float
    kafka_network: float | None
    consumers: int
    rows_a_day: float
    first: str


# What others can do, as far as it is known: to be replaced by figures of one's own.
POSTGRES_ROWS = 15_000  # a second, of this schema, on one primary with fast disks
KAFKA_NETWORK = 3 * 1.25e9  # bytes a second out of three brokers with 10 Gbit/s each
WEB_MEMORY = 2e9  # bytes that a web process may take
REPLAY = 60  # seconds of records in memory


def calculate_need(chat: Chat, costs: Costs) -> Need:
    messages, deliveries = chat.messages, chat.messages * chat.room
    shared = chat.users * costs.socket + messages * costs.message + deliveries * costs.delivery
    left = BUSY - messages * costs.record  # every process reads the whole log
    consumers = max(1, ceil(messages / (BUSY * costs.stored)))
    # What cannot be had by adding web processes.
    shares = {
        "PostgreSQL, rows a second": messages / POSTGRES_ROWS,
        "each web process's reading of the log": messages * costs.record,
    }
    processes = memory = kafka = None
    if left > 0:
        processes = max(1, ceil(shared / left))
        memory = costs.process_bytes + chat.users / processes * costs.socket_bytes
        memory += messages * REPLAY * costs.ring_bytes
        # Once for each web process, and once for the event consumers together.
        kafka = messages * costs.record_bytes * (processes + 1)
        shares["Kafka's network: each web process reads the log"] = kafka / KAFKA_NETWORK
        shares["the memory of each web process, which holds a minute of the log"] = memory / WEB_MEMORY
    name, share = max(shares.items(), key=lambda item: item[1])
    first = name if share >= BUSY else "web processes, which can be added"
    return Need(processes, memory, deliveries * costs.delivery_bytes, kafka, consumers, messages * 86_400, first)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-measuring", action="store_true", help="take the costs that stand in docs/scaling.md")
    parser.add_argument("--users", type=int, help="people online")
    parser.add_argument("--rate", type=float, default=1 / 60, help="messages a second and user (default: one a minute)")
    parser.add_argument("--room", type=int, default=30, help="people online in a room (default: 30)")
    arguments = parser.parse_args()
    if arguments.users is not None:
        print(describe(Chat(arguments.users, arguments.rate, arguments.room), read_costs()))
        return
    load_before = os.getloadavg()[0]
    costs = read_costs() if arguments.no_measuring else measure()
    if not arguments.no_measuring:
        text = conditions(["uvicorn", "uvloop"], f"Apache Kafka {KAFKA_VERSION} (one broker)", load_before)
        write_between_markers("costs", f"{text}\n\n{costs_table(costs)}", path=DOCUMENT)
    write_between_markers("sizes", "\n\n".join(sizes(costs)), path=DOCUMENT)


def measure() -> Costs:
    """Three loads, from the costs of which those of a socket, a message and a delivery follow."""
    cores = Cores.of_this_machine()
    os.sched_setaffinity(0, cores.others)
    os.environ["CHAT_DATA_DIR"] = str(DATA)
    with running_chat("uvicorn", cores):
        load(*WARM_UP)
        idle = load("--profile", "idle", "--users", "1000", "--ramp", "20", "--seconds", "20")
        pairs = load("--users", "300", "--rooms", "150", "--ramp", "10", "--seconds", "20")
        classes = load("--users", "300", "--rooms", "10", "--rate", "0.5", "--ramp", "10", "--seconds", "20")
    for report in (idle, pairs, classes):
        if found := [*report["violations"], *report["weaknesses"]]:
            raise SystemExit("\n".join(["Nothing is written, since a run was not without fault:", *found]))
    socket = busy(idle) / 1000
    grown = web_figures(idle, "memory")[-1] - idle["memory_before"][f"web-{PORT}"]
    (messages, deliveries), (messages2, deliveries2) = rates(pairs), rates(classes)
    of_pairs, of_classes = (busy(report) - 300 * socket for report in (pairs, classes))
    # of_pairs = messages · m + deliveries · d, and so of_classes.
    determinant = messages * deliveries2 - messages2 * deliveries
    message = (of_pairs * deliveries2 - of_classes * deliveries) / determinant
    delivery = (of_classes * messages - of_pairs * messages2) / determinant
    return Costs(socket, message, delivery, grown / 1000, a_delivery(classes, "chat_bytes_sent_total"))


def a_delivery(report: dict[str, Any], metric: str) -> float:
    """By how much a metric grew for each delivery while all talked."""
    seconds = [second for second in steady_seconds(report) if metric in second["metrics"]]
    grown = float(seconds[-1]["metrics"][metric] - seconds[0]["metrics"][metric])
    return grown / float(sum(second["received"] for second in seconds[1:]))


def busy(report: dict[str, Any]) -> float:
    return mean(web_figures(report, "cpu"))


def rates(report: dict[str, Any]) -> tuple[float, float]:
    """Messages and deliveries a second."""
    seconds = steady_seconds(report)
    return mean(second["sent"] for second in seconds), mean(second["received"] for second in seconds)


def costs_table(costs: Costs) -> str:
    rows = [
        ["an idle socket", f"{costs.socket * 1e6:.1f} µs a second", f"{costs.socket_bytes / 1000:.1f} KB"],
        ["taking a message in: checks, publishing, acknowledging", f"{costs.message * 1e6:.0f} µs", "–"],
        ["showing it to one person", f"{costs.delivery * 1e6:.1f} µs", f"{costs.delivery_bytes:.0f} bytes on the wire"],
        [
            "a record of the log, in every process",
            f"{costs.record * 1e6:.1f} µs",
            f"{costs.ring_bytes / 1000:.1f} KB for a minute",
        ],
    ]
    return f"{table(['what', 'CPU', 'memory'], rows)}\n\n<!-- {json.dumps(asdict(costs))} -->"


def read_costs() -> Costs:
    found = re.search(r"<!-- (\{.*\}) -->", Path(DOCUMENT).read_text())
    if found is None:
        raise SystemExit("There are no costs in docs/scaling.md: run this without options first.")
    return Costs(**json.loads(found[1]))


def sizes(costs: Costs) -> Iterator[str]:
    for name, rate, room in (("Calm", 1 / 60, 30), ("Busy", 1 / 10, 100)):
        head = ["online", "messages/s", "deliveries/s", "web processes (cores)", "memory of each", "web → people",
                "Kafka → readers", "event consumers", "rows a day", "gives out first"]  # fmt: skip
        chats = [Chat(users, rate, room) for users in USERS]
        yield (
            f"**{name}**: each says something every {1 / rate:.0f} s, to rooms with {room} people online.\n\n"
            + table(head, [row(chat, calculate_need(chat, costs)) for chat in chats])
        )


def row(chat: Chat, need: Need) -> list[object]:
    return [
        f"{chat.users:,}",
        f"{chat.messages:,.0f}",
        f"{chat.messages * chat.room:,.0f}",
        "–" if need.processes is None else f"{need.processes:,}",
        "–" if need.web_memory is None else f"{need.web_memory / 1e6:,.0f} MB",
        f"{need.web_network / 1e6:,.1f} MB/s",
        "–" if need.kafka_network is None else f"{need.kafka_network / 1e6:,.1f} MB/s",
        need.consumers,
        f"{need.rows_a_day / 1e6:,.0f} million",
        need.first,
    ]


def describe(chat: Chat, costs: Costs) -> str:
    names = ["online", "messages/s", "deliveries/s", "web processes", "memory of each", "web to people",
             "Kafka to readers", "event consumers", "rows a day", "gives out first"]  # fmt: skip
    return "\n".join(
        f"{name:<18} {value}" for name, value in zip(names, row(chat, calculate_need(chat, costs)), strict=True)
    )


if __name__ == "__main__":
    main()

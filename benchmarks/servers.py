"""The servers that the benchmarks meet: those named, or embedded ones that are started for the time of the run."""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from redis import Redis

from devstack import VARIABLES, DevStack

FOLDER = Path(__file__).resolve().parents[1] / ".data" / "benchmarks"


class Servers(NamedTuple):
    """Addresses; process ids are known of embedded services alone."""

    kafka: str
    redis: str
    kafka_pid: int | None = None
    redis_pid: int | None = None


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--kafka", help="host:port of brokers; by default an embedded one is started")
    parser.add_argument("--redis", help="redis://… ; by default an embedded one is started")


@contextmanager
def running_servers(arguments: Namespace) -> Iterator[Servers]:
    addresses = {"kafka": arguments.kafka, "redis": arguments.redis}
    wanted = [service for service, address in addresses.items() if not address]
    stack = DevStack(FOLDER, services=wanted)
    if wanted:
        stack.attach()
    addresses |= {service: stack.addresses()[VARIABLES[service]] for service in wanted}
    if "redis" in wanted:
        with Redis.from_url(addresses["redis"]) as redis:
            redis.config_set("appendonly", "no")  # nobody keeps a layer's messages on disk
    pids = {service: stack.pid(service) for service in wanted}
    try:
        yield Servers(addresses["kafka"], addresses["redis"], pids.get("kafka"), pids.get("redis"))
    finally:
        stack.detach()


def create_topics(servers: str, count: int, *, partitions: int = 3) -> list[str]:
    """New topics for this run alone, with one replica."""
    names = [f"benchmark-{uuid4().hex[:12]}" for _ in range(count)]
    settings = {"message.timestamp.type": "LogAppendTime"}
    admin = AdminClient({"bootstrap.servers": servers})
    for future in admin.create_topics([NewTopic(name, partitions, 1, config=settings) for name in names]).values():
        future.result(30)
    return names


def delete_topics(servers: str, names: list[str]) -> None:
    admin = AdminClient({"bootstrap.servers": servers})  # named: its end would end what it was asked for
    for future in admin.delete_topics(names).values():
        future.result(30)

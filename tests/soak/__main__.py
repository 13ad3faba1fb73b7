"""`make soak`: each scenario's tests many times in a row, on services that run through. Nothing is tried again: a test
that fails once has failed. What came out is written into docs/soak.md.
"""

import argparse
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

from confluent_kafka.admin import AdminClient

from devstack import DevStack, StackError
from devstack.cluster import KafkaCluster
from devstack.state import SERVICES
from tests.soak.report import Round, read_round, write_section
from tests.soak.scenarios import ROOT, SCENARIOS, Scenario

FOLDER = ROOT / ".data" / "soak"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", help=f"of {', '.join(s.name for s in SCENARIOS)}; all of them if none")
    parser.add_argument("--rounds", type=int, help="instead of each scenario's own number")
    arguments = parser.parse_args()
    chosen = [s for s in SCENARIOS if s.name in arguments.scenarios or not arguments.scenarios]
    if len(chosen) < len(arguments.scenarios):
        parser.error(f"{' '.join(arguments.scenarios)}: not all of these are scenarios")
    return max([soak(scenario, arguments.rounds or scenario.rounds) for scenario in chosen])


def soak(scenario: Scenario, count: int) -> int:
    """Returns the exit code. An interrupted soak writes down the rounds that it finished."""
    started, rounds = datetime.now(UTC), list[Round]()
    try:
        with services(scenario) as servers:
            for number in range(1, count + 1):
                rounds.append(run_round(scenario, number))
                delete_topics(servers)
    finally:
        if rounds:
            write_section(ROOT / "docs" / "soak.md", scenario, started, rounds)
    return int(any(not done.passed for done in rounds))


@contextmanager
def services(scenario: Scenario) -> Iterator[str]:
    """Kafka's addresses, while the services of the tests run."""
    with ExitStack() as life:
        if scenario.brokers == 3:
            life.enter_context(DevStack(FOLDER, services=SERVICES[:2]))
            kafka: DevStack = life.enter_context(KafkaCluster(FOLDER / "cluster"))
        else:
            kafka = life.enter_context(DevStack(FOLDER))
        yield kafka.addresses()["KAFKA_BOOTSTRAP_SERVERS"]


def run_round(scenario: Scenario, number: int) -> Round:
    seed = secrets.randbits(32)
    prefix = FOLDER / f"{scenario.name}-{number}"
    results, log = prefix.with_suffix(".xml"), prefix.with_suffix(".log")
    results.unlink(missing_ok=True)
    settings = {
        "TEST_DATA": str(FOLDER),
        "TEST_BROKERS": str(scenario.brokers),
        "TEST_SEED": str(seed),
    } | scenario.settings
    options = ["-rA", "-p", "no:cacheprovider", f"--junitxml={results}", "-o", "junit_family=xunit1"]
    with log.open("w") as output:
        subprocess.run(
            [sys.executable, "-m", "pytest", *options, *scenario.tests],
            cwd=ROOT, env={**os.environ, **settings}, stdout=output, stderr=output, check=False,
        )  # fmt: skip
    done = read_round(results, seed)
    print(f"{scenario.name} round {number}, seed {seed}: {done.summary}; {log}", flush=True)
    return done


def delete_topics(servers: str) -> None:
    """What a round made: thousands of partitions would slow the later rounds."""
    admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
    names = [name for name in admin.list_topics(timeout=30).topics if name.startswith("test-")]
    for deleted in admin.delete_topics(names, operation_timeout=30).values() if names else ():
        deleted.result(60)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except StackError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)

"""What `make soak` runs. A further scenario is an entry here; its tests may be files in this folder that are named
`soak_*.py`, which `make test` does not collect.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Scenario:
    """Tests that are run many times in a row, against one Kafka broker or against a cluster of three."""

    name: str
    brokers: int
    tests: Sequence[str]  # of pytest: paths from the project's folder, or single tests
    rounds: int = 20
    settings: Mapping[str, str] = field(default_factory=dict)  # environment variables that make the tests longer


def _layer_tests(*, without: str) -> list[str]:
    paths = sorted((ROOT / "tests" / "integration").glob("test_kafka_layer*.py"))
    return [str(path.relative_to(ROOT)) for path in paths if path.name != without]


SCENARIOS = (
    Scenario("layer-1", 1, _layer_tests(without="test_kafka_layer_cluster.py")),
    Scenario("layer-3", 3, _layer_tests(without="test_kafka_layer_faults.py")),
    Scenario(
        "event-consumer-kills",
        1,
        [
            "tests/acceptance/test_storing.py::test_each_acknowledged_message_is_stored_once_though_the_event_consumer_is_killed"
        ],
        rounds=1,
        settings={"KILLS": "30"},
    ),
    Scenario(
        "poller-kills",
        1,
        [
            "tests/acceptance/test_outbox_processes.py::test_pollers_killed_at_random_moments_of_a_flow_lose_nothing_and_invent_nothing"
        ],
        rounds=1,
        settings={"KILLS": "50"},
    ),
)

"""What `make soak` runs. A further scenario is an entry here; its tests may be files in this folder that are named
`soak_*.py`, which `make test` does not collect.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Scenario:
    """Tests that are run many times in a row, against one Kafka broker or against a cluster of three."""

    name: str
    brokers: int
    tests: Sequence[str]  # paths from the project's folder


def _layer_tests(*, without: str) -> list[str]:
    paths = sorted((ROOT / "tests" / "integration").glob("test_kafka_layer*.py"))
    return [str(path.relative_to(ROOT)) for path in paths if path.name != without]


SCENARIOS = (
    Scenario("layer-1", 1, _layer_tests(without="test_kafka_layer_cluster.py")),
    Scenario("layer-3", 3, _layer_tests(without="test_kafka_layer_faults.py")),
)

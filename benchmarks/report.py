"""Where figures come from, and their place in a document."""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from loadtest.conditions import cpu_model

README = Path(__file__).resolve().parents[1] / "kafka_layer" / "README.md"


def conditions(packages: Sequence[str], servers: str, load_before: float) -> str:
    """When and where it was measured, and with which versions."""
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return (
        f"Measured {datetime.now(UTC):%Y-%m-%d} on {os.cpu_count()} cores ({cpu_model()}) shared by all processes;"
        f" load average before: {load_before:.1f}.\nPython {platform.python_version()}, {servers},\n{versions}."
    )


def write_between_markers(name: str, text: str, *, path: Path = README) -> None:
    """Replace what stands between `<!-- name -->` and `<!-- end of name -->` in a document."""
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, found, rest = path.read_text().partition(start)
    _, found_end, after = rest.partition(end)
    if not found or not found_end:
        raise SystemExit(f"{path} needs the lines {start} and {end}.")
    path.write_text(f"{before}{start}\n{text}\n{end}{after}")

"""The channel layer as a library: built as a wheel, and installed where nothing of this project is."""

import json
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from tests.integration.kafka_layer_support import ROOT, create_config

PROJECT = sorted({path.parent.name for path in ROOT.glob("*/__init__.py")} - {"kafka_layer"})


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT / "kafka_layer"))
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def seen(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `installed_layer.py` saw in an environment of its own, outside this project's folder."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    # The versions this suite runs with; what is not needed is not installed.
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(f"{package.name}=={package.version}" for package in distributions()))
    pip("--python", str(python), "install", "--constraint", str(constraints), str(wheel))
    program = shutil.copy(Path(__file__).with_name("installed_layer.py"), folder)
    command = [python, "-I", program, json.dumps(create_config()), json.dumps(PROJECT)]
    output = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=60).stdout
    result: dict[str, Any] = json.loads(output)
    return result


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True, timeout=100)


def test_the_wheel_holds_the_package_alone(wheel: Path) -> None:
    """Every module, the marker of its types, and the licence."""
    names = ZipFile(wheel).namelist()
    modules = {path.name for path in (ROOT / "kafka_layer").glob("*.py")}
    package = {name.removeprefix("kafka_layer/") for name in names if name.startswith("kafka_layer/")}
    assert package == modules | {"py.typed"}
    assert all(name.startswith("channels_kafka_layer-") for name in names if not name.startswith("kafka_layer/"))
    assert any(name.endswith("/LICENSE") for name in names)


def test_the_installed_layer_stands_alone(seen: dict[str, Any]) -> None:
    """It runs from its own wheel, and no module of the project can be imported there."""
    assert not Path(seen["file"]).is_relative_to(ROOT)
    assert "messaging" in PROJECT
    assert seen["importable"] == []


def test_the_installed_layer_sends_to_a_group(seen: dict[str, Any]) -> None:
    """Channels' own calls, with nothing but the wheel's own dependencies."""
    assert seen["group"] == {"type": "greeting", "to": "all"}


def test_the_installed_layer_publishes_and_subscribes(seen: dict[str, Any]) -> None:
    """The record arrives at the position that publish returned."""
    assert seen["subscription"] == [["1", {"text": "hello"}, True]]

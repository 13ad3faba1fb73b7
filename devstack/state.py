"""What a data folder keeps between starts: ports, secrets, and the versions that wrote the data."""

import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

from devstack.errors import StackError
from devstack.ports import choose_ports

SERVICES = ("postgres", "redis", "kafka")
# The environment variable that names a service, and that replaces the embedded one when it is set.
VARIABLES = {"postgres": "DATABASE_URL", "redis": "REDIS_URL", "kafka": "KAFKA_BOOTSTRAP_SERVERS"}
# The controller of Kafka's quorum listens on a port of its own, which the quorum stores for good.
PORTS = (*SERVICES, "kafka-controller")


@dataclass
class State:
    """Chosen once for a folder. `versions`: service → the version that wrote its data."""

    ports: dict[str, int] = field(default_factory=dict)
    password: str = ""
    secret_key: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path) -> "State":
        """The state of a folder, made on first use. Call it with the folder's start lock held, or risk two."""
        path = folder / "state.json"
        if path.exists():
            try:
                return cls(**json.loads(path.read_text()))
            except (ValueError, TypeError) as error:
                raise StackError(
                    f"{path} cannot be read ({error}). Delete {folder} to start with empty data."
                ) from None
        state = cls(ports=choose_ports(PORTS), password=secrets.token_urlsafe(24), secret_key=secrets.token_urlsafe(50))
        state.save(folder)
        return state

    def address(self, service: str) -> str:
        """The value of the service's environment variable; known before the service runs or is installed."""
        host = f"127.0.0.1:{self.ports[service]}"
        if service == "postgres":
            return f"postgresql://chat:{self.password}@{host}/chat"
        return f"redis://:{self.password}@{host}/0" if service == "redis" else host

    def save(self, folder: Path) -> None:
        """Replace the file in one step, readable for its owner alone."""
        draft = folder / f"state.json.{os.getpid()}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w") as file:
            json.dump(asdict(self), file, indent=2)
        draft.replace(folder / "state.json")

    def note_version(self, service: str, version: str, folder: Path) -> None:
        """Remember which version wrote the data; raise `StackError` for data of another release line."""
        known = self.versions.get(service, version)
        if _release_line(known) != _release_line(version):
            raise StackError(
                f"The data in {folder} were written by {service} {known}, and this is {version}. "
                f"Delete {folder} to start with empty data, or install the version that wrote them."
            )
        self.versions[service] = version
        self.save(folder)


def _release_line(version: str) -> list[str]:
    """The part of a version within which data stay readable: 6.2 of 6.2.14, 18 of 18."""
    return version.split(".")[:2]

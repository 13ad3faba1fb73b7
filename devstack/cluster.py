"""Three Apache Kafka brokers that stand together, for tests and to try faults by hand.

As a script, `python -m devstack.cluster FOLDER`, it keeps them until Ctrl-C and prints where they are.
"""

import signal
import sys
from pathlib import Path
from time import monotonic, sleep

from confluent_kafka import ElectionType, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from devstack.errors import StackError
from devstack.stack import DevStack
from devstack.state import BROKERS

PATIENCE = 20.0  # seconds for an answer of the cluster


class KafkaCluster(DevStack):
    """`with KafkaCluster(folder) as cluster:` the brokers `kafka-1` to `kafka-3` run, tied to their users as all
    services of a folder are. Topics have three replicas, and two must have a record before it is acknowledged.
    """

    deadline = 300.0  # seconds: three Java machines start at once, perhaps on a busy machine

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, services=BROKERS)

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(self.state.address(broker) for broker in BROKERS)

    def addresses(self) -> dict[str, str]:
        return {"KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers}

    def leader(self, topic: str, partition: int) -> str:
        """The broker that leads the partition now. Raises `StackError` while none does."""
        node = self._admin().list_topics(topic, timeout=PATIENCE).topics[topic].partitions[partition].leader
        if node < 1:
            raise StackError(f"No broker leads {topic} [{partition}].")
        return BROKERS[node - 1]

    def prefer_leader(self, topic: str, partition: int) -> None:
        """Give the partition back to the first of its replicas, while all brokers run. One that has just come back may
        take a while to hold all that was written meanwhile: until then it cannot lead."""
        wanted = TopicPartition(topic, partition)
        admin = self._admin()  # its answers come only while it is kept
        end = monotonic() + PATIENCE
        error: object = None
        while monotonic() < end:
            try:
                left = max(0.1, end - monotonic())
                error = admin.elect_leaders(ElectionType.PREFERRED, [wanted]).result(left)[wanted]
            except (KafkaException, TimeoutError) as refusal:
                error = refusal
            reason = error.args[0] if isinstance(error, KafkaException) else error
            if reason is None or (isinstance(reason, KafkaError) and reason.code() == KafkaError.ELECTION_NOT_NEEDED):
                return
            sleep(0.2)
        raise StackError(f"The leader of {topic} [{partition}] did not change: {error}")

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})


def main(folder: Path) -> None:
    ending = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    with KafkaCluster(folder) as cluster:
        signal.pthread_sigmask(signal.SIG_BLOCK, ending)
        print(f"export KAFKA_BOOTSTRAP_SERVERS='{cluster.bootstrap_servers}' KAFKA_REPLICATION=3")
        for broker in BROKERS:
            print(f"# {broker}: process {cluster.pid(broker)}")
        print("# The brokers run until Ctrl-C.", flush=True)
        signal.sigwait(ending)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except StackError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)

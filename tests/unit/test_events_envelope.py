"""The envelope and the schemas of the events."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

import events
from events.envelope import Envelope, InvalidRecord
from events.schemas import SCHEMAS, EventType, check_data
from events.topics import TOPICS, Topic

EXAMPLES = Path(events.__file__).parent / "examples"


def example(type: EventType) -> bytes:
    return (EXAMPLES / f"{type}.json").read_bytes()


def test_every_type_has_a_schema_and_an_example_and_no_example_is_left_over() -> None:
    """Types, schemas and examples are the same set."""
    assert set(SCHEMAS) == set(EventType)
    assert {path.stem for path in EXAMPLES.glob("*.json")} == set(EventType)


@pytest.mark.parametrize("type", EventType)
def test_example_round_trips(type: EventType) -> None:
    """Decoding an example and encoding it again changes nothing."""
    envelope = Envelope.decode(example(type))
    assert envelope.type == type
    assert json.loads(envelope.encode()) == json.loads(example(type))
    assert envelope.subject == check_data(type, envelope.data).subject
    assert Envelope.decode(envelope.encode()) == envelope


@pytest.mark.parametrize("type", EventType)
def test_unknown_major_version_is_refused(type: EventType) -> None:
    """A later major version is refused, and the reason names it and what is known."""
    later = example(type).replace(b'.v1"', b'.v2"')
    with pytest.raises(InvalidRecord, match=r"v2' has a major version unknown to this server, which knows .*\.v1\."):
        Envelope.decode(later)


@pytest.mark.parametrize("type", EventType)
def test_unknown_fields_are_ignored(type: EventType) -> None:
    """A field that a later minor version adds does not hurt."""
    value = json.loads(example(type))
    value["later"] = value["data"]["later"] = 1
    assert "later" not in Envelope.decode(json.dumps(value).encode()).data


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "Invalid JSON"),
        (b"not JSON", "Invalid JSON"),
        (b"\xff\xfe", "Invalid JSON"),
        (b"[1]", "should be an object"),
        (b"null", "should be an object"),
        (b"{}", "id: Field required"),
        (example(EventType.ROOM_CREATED).replace(b'"id": 12', b'"id": "12"'), "id: Input should be a valid integer"),
        (example(EventType.ROOM_CREATED).replace(b"public", b"secret"), "kind: Input should be"),
        (example(EventType.ROOM_CREATED).replace(b"0b4e7a0e", b"0B4E7A0E"), "id: String should match pattern"),
        (example(EventType.ROOM_CREATED).replace(b"Lobby", rb"\u0000"), "name: .*NUL"),
        (example(EventType.MESSAGE_CREATED).replace(b"Hello", rb"\ud800"), "hex escape"),
        (example(EventType.ROOM_CREATED).replace(b"chat.room.created.v1", b"chat.nonsense"), "no type of event"),
        (b"[" * 100_000, "Invalid JSON"),
    ],
)  # fmt: skip
def test_bad_value_is_refused_with_its_reason(value: bytes, reason: str) -> None:
    """Whatever the bytes are, the answer is InvalidRecord, and its text says why."""
    with pytest.raises(InvalidRecord, match=reason):
        Envelope.decode(value)


def test_reason_does_not_quote_what_somebody_wrote() -> None:
    """Reasons go to logs and headers, where people's words do not belong."""
    value = example(EventType.MESSAGE_CREATED).replace(b"Hello", b"private \\u0000")
    with pytest.raises(InvalidRecord) as caught:
        Envelope.decode(value)
    assert "private" not in str(caught.value)


def test_check_data_raises_value_error() -> None:
    """Data that does not fit its type is refused."""
    with pytest.raises(ValidationError):
        check_data(EventType.ROOM_DELETED, {"id": 0})


def test_every_topic_is_specified() -> None:
    """Topics and their specifications are the same set."""
    assert set(TOPICS) == set(Topic)

import json
import uuid

import pytest

from accounts.errors import ChatError, ErrorCode
from messaging import protocol
from messaging.cursor import Cursor

ID = "0b4e7a0e-5f3e-4f0e-9a41-0d6f6a7d9a11"


def code_of(function, *args, **options):
    with pytest.raises(ChatError) as caught:
        function(*args, **options)
    return caught.value.code


@pytest.mark.parametrize("text", [None, "", "{", "[]", "7", '"text"', "null", "\ud800", '{"a":"\\ud800"}x'])
def test_what_is_not_one_json_object_is_invalid(text):
    assert code_of(protocol.parse_frame, text) == ErrorCode.INVALID


def test_a_deeply_nested_frame_is_invalid_and_does_not_end_the_process():
    assert code_of(protocol.parse_frame, "[" * 60_000) == ErrorCode.INVALID


def test_the_size_of_a_frame_is_counted_in_utf8_bytes():
    frame = '{"type":"send","text":"' + "한" * 30_000 + '"}'
    assert len(frame) < protocol.MAX_FRAME_BYTES
    assert code_of(protocol.parse_frame, frame) == ErrorCode.TOO_LARGE


def test_a_frame_of_exactly_the_limit_is_read():
    frame = '{"a":"' + "x" * (protocol.MAX_FRAME_BYTES - 8) + '"}'
    assert len(frame) == protocol.MAX_FRAME_BYTES
    assert protocol.parse_frame(frame)["a"].startswith("xxx")


@pytest.mark.parametrize("id", [None, 7, "", "x" * 65])
def test_an_answer_repeats_only_a_valid_id(id):
    assert protocol.frame_id({"id": id}) is None


@pytest.mark.parametrize("room", [None, "12", 1.5, True, 0, -1, 2**63])
def test_a_room_is_a_positive_number(room):
    assert code_of(protocol.require_room, {"room": room}) == ErrorCode.INVALID


@pytest.mark.parametrize("text", ["", " ", "\n\t ", None, 7, "a\x00b", "\ud800"])
def test_a_text_that_cannot_be_said_is_invalid(text):
    assert code_of(protocol.parse_send, {"id": ID, "text": text}, 1) == ErrorCode.INVALID


def test_a_text_is_limited_in_code_points():
    assert protocol.parse_send({"id": ID, "text": "😀" * 4000}, 1).text == "😀" * 4000
    assert code_of(protocol.parse_send, {"id": ID, "text": "😀" * 4001}, 1) == ErrorCode.TOO_LARGE


def test_a_text_is_kept_exactly_as_sent():
    text = "  <b>é</b> 안녕\u200d\r\n\t "
    assert protocol.parse_send({"id": ID, "text": text}, 1).text == text


@pytest.mark.parametrize("id", [ID.upper(), ID.replace("-", ""), "{" + ID + "}", "x", None, 7, ID + "\n"])
def test_a_message_id_has_one_spelling(id):
    assert code_of(protocol.parse_send, {"id": id, "text": "x"}, 1) == ErrorCode.INVALID


def test_reply_to_is_a_message_id():
    assert protocol.parse_send({"id": ID, "text": "x", "reply_to": ID}, 1).reply_to == ID
    assert code_of(protocol.parse_send, {"id": ID, "text": "x", "reply_to": "x"}, 1) == ErrorCode.INVALID


def test_a_cursor_survives_the_wire():
    cursor = Cursor(2, 1, 9_000_000_000)
    assert Cursor.parse(str(cursor), partition=1) == cursor


@pytest.mark.parametrize(
    "text", ["", "1-1", "1-1-x", "1-1-1-1", "-1-1-1", "1-1-99999999999999999999", 7, None, "１-1-1"]
)
def test_a_malformed_cursor_is_invalid(text):
    assert code_of(Cursor.parse, text, partition=1) == ErrorCode.INVALID


def test_a_cursor_of_another_partition_is_invalid():
    assert code_of(Cursor.parse, "1-2-3", partition=1) == ErrorCode.INVALID


def test_cursors_sort_in_the_room_s_order():
    assert Cursor(1, 0, 50) < Cursor(1, 0, 51) < Cursor(2, 0, 0)


def test_several_frames_are_one_array():
    assert protocol.join([b"{}", b"[]"]) == ("[{},[]]", 7)
    assert protocol.join([b"{}"]) == ("{}", 2)


def test_the_size_of_a_text_is_its_bytes():
    assert protocol.render({"b": "é"}).size == len('{"b":"é"}'.encode())


def test_frames_are_parted_by_their_size_and_keep_their_order():
    """One that is larger than a part stands alone."""
    frames = [{"n": n, "text": "é" * size} for n, size in enumerate((10, 10, 300, 10, 60, 1))]
    parts = list(protocol.render_parts(frames, size=100))
    assert [frame for part in parts for frame in json.loads(part.text)] == frames
    assert [len(json.loads(part.text)) for part in parts] == [2, 1, 1, 1, 1]
    assert all(part.size == len(part.text.encode()) for part in parts)
    assert list(protocol.render_parts([], size=100)) == []


def test_a_welcome_names_a_new_session_each_time():
    first, second = protocol.welcome("alice"), protocol.welcome("alice")
    assert first["session"] != second["session"]
    assert uuid.UUID(first["session"])

"""What holds for every REST call."""

import pytest
from django.test import Client

from chatproject.api import api
from tests.integration.people_support import Door, make_person, refused

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("get", "/api/v1/nothing", 404, "not_found"),
        ("put", "/api/v1/rooms", 405, "method_not_allowed"),
        ("get", "/api/v1/rooms", 401, "unauthenticated"),
    ],
)
def test_every_error_is_a_problem_document(client: Client, method: str, path: str, status: int, code: str):
    response = getattr(client, method)(path)
    assert (response.status_code, response.headers["Content-Type"]) == (status, "application/problem+json")
    assert (response.json()["code"], response.json()["status"]) == (code, status)


def test_a_host_that_this_is_not_is_told_so(client: Client):
    response = client.get("/api/v1/session", headers={"Host": "elsewhere.example"})
    assert (response.status_code, response.headers["Content-Type"]) == (400, "application/problem+json")
    assert response.json()["code"] == "invalid"


def test_a_body_that_is_too_large_is_told_so(client: Client):
    response = client.post("/api/v1/tokens", {"id": "x" * 3_000_000, "password": "x"}, content_type="application/json")
    assert (response.status_code, response.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_body_that_any_page_may_send_is_refused(client: Client, content_type: str):
    """Without asking first, pages of other origins could guess passwords from here."""
    body = b'{"id": "alice", "password": "guess"}'
    answer = client.generic("POST", "/api/v1/tokens", body, content_type=content_type)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
    assert "application/json" in answer.json()["detail"]


BAD_BODIES = {
    "no JSON": b"{",
    "an array": b"[null, null]",
    "a bare number": b"1",
    "not a number": b'{"days": NaN}',
    "a lone surrogate": b'{"id": "\\ud800", "password": "x"}',
    "no UTF-8": b'{"id": "\xff", "password": "x"}',
    "nested beyond all use": b'{"days": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a huge number": b'{"days": 1' + b"0" * 400 + b"}",
    "a number in quotes": b'{"days": "5"}',
    "a broken number": b'{"days": 5.5}',
    "a truth for a number": b'{"days": true}',
    "an object for a text": b'{"id": {}, "password": "x"}',
    "an absurd length": b'{"id": "' + b"x" * 100_000 + b'", "password": "x"}',
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
def test_a_body_that_makes_no_sense_is_refused_as_invalid(body: bytes):
    door = Door(make_person("alice"))
    answer = door.client.post("/api/v1/tokens", body, content_type="application/json", headers=door.headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid"), answer.content


@pytest.mark.parametrize("number", ["0", "99999999999999999999", "9" * 5000])
def test_no_number_of_a_room_is_too_large_to_be_looked_up(number: str):
    door = Door(make_person("alice"))
    assert refused(door, door.get(f"/rooms/{number}")) == (404, "not_found")


@pytest.mark.parametrize("text", ["\0", "\ud800", "x" * 100_000, "-1", "9" * 5000])
@pytest.mark.parametrize("name", ["q", "after", "limit"])
def test_no_query_is_a_fault(name: str, text: str):
    door = Door(make_person("alice"))
    door.get(f"/rooms?{name}=" + "".join(f"%{byte:02x}" for byte in text.encode("utf-8", "surrogatepass")))
    assert door.status == 400 or (name == "q" and door.status == 200)


def test_the_document_declares_every_error_of_every_call():
    document = api.get_openapi_schema(path_prefix="/api/v1/")
    for path in document["paths"].values():
        for operation in path.values():
            assert {"400", "401", "403", "404", "409", "413", "429", "503", "504"} <= set(operation["responses"])


def test_a_method_that_a_call_does_not_take_is_told_the_others(client: Client):
    assert client.put("/api/v1/rooms").headers["Allow"] in {"GET, POST", "POST, GET"}

"""What holds for every REST call."""

import pytest
from django.test import Client

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

"""Headers, cookies and settings that keep browsers and operators from harm."""

import os
import re
import subprocess
import sys
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import caches
from django.test import Client
from django_redis import get_redis_connection

from tests.acceptance.processes import ROOT
from tests.integration.people_support import PASSWORD, make_person

pytestmark = pytest.mark.django_db

PAGES = ["/", "/nothing", "/admin/login/", "/admin/nothing", "/api/v1/docs", "/api/v1/session", "/api/v1/rooms",
         "/api/v1/nothing", "/api/v1/openapi.json", "/health/live", "/static/messaging/app.js",
         "/static/admin/css/base.css", "/static/nothing.js"]  # fmt: skip


@pytest.mark.parametrize("path", PAGES)
def test_every_answer_says_what_a_browser_may_do_with_it(path: str):
    """Pages, errors, the API, the documents and static files."""
    answer = Client().get(path)
    answer.close()
    headers = answer.headers
    policy = dict(part.strip().partition(" ")[::2] for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"


@pytest.mark.parametrize("path", ["/", "/admin/login/", "/api/v1/docs"])
def test_a_page_loads_nothing_from_elsewhere_and_has_no_script_of_its_own(path: str):
    """Not even the documents of the API, whose viewer is usually fetched from a CDN."""
    page = Client().get(path).content.decode()
    for part in page.split("<script")[1:]:
        tag, _, code = part.partition(">")
        assert "src=" in tag or "application/json" in tag or not code.partition("<")[0].strip()
    assert not re.search(r"(src|href|action)=.(https?:)?//", page)
    assert "<style" not in page and " onclick=" not in page and " style=" not in page


@pytest.mark.parametrize("path", ["/metrics", "/metrics/", "/drain", "/ready"])
def test_what_is_for_the_operator_is_not_on_the_public_port(path: str):
    assert Client().get(path).status_code == 404 and Client().post(path).status_code in {403, 404}


@pytest.mark.parametrize("name", [settings.SESSION_COOKIE_NAME, settings.CSRF_COOKIE_NAME])
def test_cookies_go_to_no_other_site(name: str, settings: Any):
    make_person("alice")
    client = Client()
    csrf = client.get("/api/v1/session").json()["csrf_token"]
    body = {"id": "alice", "password": PASSWORD}
    client.post("/api/v1/session", body, content_type="application/json", headers={"X-CSRFToken": csrf})
    assert client.cookies[name]["samesite"] == "Lax"
    assert bool(client.cookies[name]["httponly"]) == (name == settings.SESSION_COOKIE_NAME)


def manage(*arguments: str, **environment: str) -> str:
    """What a management command says with this environment."""
    result = subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, env={**os.environ, **environment}, timeout=100,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_settings_for_a_public_server_pass_django_s_own_check():
    assert "no issues" in manage("check", "--deploy", "--fail-level", "WARNING", SECURE="1", CHAT_EMBEDDED="0")


SECURE_ANSWERS = """
from django.test import Client
plain, secure = Client().get("/"), Client().get("/", headers={"X-Forwarded-Proto": "https"})
assert plain.status_code == 301 and plain["Location"].startswith("https://"), plain
assert secure["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains; preload", secure.headers
assert secure.cookies["csrftoken"]["secure"]
from django.conf import settings
assert settings.SESSION_COOKIE_SECURE
from chatproject.handshake import _origins_of
assert _origins_of("localhost") == ["https://localhost"]
assert Client().get("/admin/", headers={"X-Forwarded-Proto": "https"}).status_code == 404
print("fine")
"""


def test_behind_tls_everything_is_for_https_only_and_the_admin_may_be_left_out():
    assert "fine" in manage("shell", "-c", SECURE_ANSWERS, SECURE="1", ADMIN="0", ALLOWED_HOSTS="testserver")


def test_what_redis_holds_is_data_and_never_code():
    """Sessions are in the cache, and whoever reaches Redis could otherwise run code in every web process."""
    caches["default"].set("seen", {"a": 1})
    kept = get_redis_connection("default").get(caches["default"].make_key("seen"))
    assert kept == b'{"a": 1}'

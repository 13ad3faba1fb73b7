import os
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from django.conf import settings

from accounts import redis_calls
from accounts.models import User
from tests.integration.people_support import make_person


@pytest.fixture(scope="package", autouse=True)
def _services(stack: object) -> Iterator[None]:
    """Integration tests meet the real services, which may be slow. The database is a new one, so nobody's bucket may be
    an earlier run's that happened to have a person of the same number."""
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as store:
        for key in store.scan_iter("limit:*"):
            store.delete(key)
    with pytest.MonkeyPatch.context() as patch:
        cache = settings.CACHES["default"]["OPTIONS"]
        for options, names in (
            (settings.REDIS_OPTIONS, ("socket_timeout", "socket_connect_timeout")),
            (cache, ("SOCKET_TIMEOUT", "SOCKET_CONNECT_TIMEOUT")),
        ):
            for name in names:
                patch.setitem(options, name, 20)
        patch.setattr(redis_calls, "DEADLINE", 20.0)
        yield


@pytest.fixture(autouse=True)
def _fast_passwords(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def alice() -> User:
    return make_person("alice")


@pytest.fixture
def bob() -> User:
    return make_person("bob")

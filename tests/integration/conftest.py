import os
from typing import Any

import pytest
import redis

from accounts.models import User
from tests.integration.people_support import make_person


@pytest.fixture(scope="session", autouse=True)
def _services(stack: object) -> None:
    """Integration tests meet the real services. The database is a new one, so nobody's bucket may be an earlier run's
    that happened to have a person of the same number."""
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as store:
        for key in store.scan_iter("limit:*"):
            store.delete(key)


@pytest.fixture(autouse=True)
def _fast_passwords(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def alice() -> User:
    return make_person("alice")


@pytest.fixture
def bob() -> User:
    return make_person("bob")

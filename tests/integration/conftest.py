import os

import pytest
import redis


@pytest.fixture(scope="session", autouse=True)
def _services(stack: object) -> None:
    """Integration tests meet the real services. The database is a new one, so nobody's bucket may be an earlier run's
    that happened to have a person of the same number."""
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as store:
        for key in store.scan_iter("limit:*"):
            store.delete(key)

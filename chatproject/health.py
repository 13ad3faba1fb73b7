"""Probes: `/health/live` says that the process answers, `/health/ready` that it can serve."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from time import monotonic

import redis.asyncio
from asgiref.sync import sync_to_async
from confluent_kafka import KafkaException
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from redis.exceptions import RedisError

from events.kept_admin import KeptAdmin
from events.topics import Topic
from kafka_layer import LayerError
from messaging.hub import get_hub

logger = logging.getLogger(__name__)

# A probe must answer while a service hangs.
DEADLINE = 3.0  # seconds
# Anybody may ask: so often at most the services are, and in threads that nobody else waits for.
INTERVAL = 1.0  # seconds
_database_thread = ThreadPoolExecutor(1, "database-ready")
_kafka_thread = ThreadPoolExecutor(1, "kafka-ready")


async def live(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"live": True})


async def ready(request: HttpRequest) -> HttpResponse:
    """200 when the database, Redis and Kafka answer and the layer's reader works, else 503; the body names each."""
    checks = await _looks.latest()
    good = all(result == "ok" for result in checks.values())
    return JsonResponse({"ready": good, "checks": checks}, status=200 if good else 503)


class Looks:
    """One look at the services for all who ask at a time; belongs to the event loop that serves."""

    def __init__(self) -> None:
        self._look: asyncio.Task[dict[str, str]] | None = None
        self._begun = 0.0

    async def latest(self) -> dict[str, str]:
        """Service → "ok", or what is wrong, as it was found less than `INTERVAL` ago or is found now."""
        now = monotonic()
        if self._look is None or (self._look.done() and now - self._begun > INTERVAL):
            self._look, self._begun = asyncio.create_task(_look()), now
        return await asyncio.shield(self._look)


_looks = Looks()


async def _look() -> dict[str, str]:
    names = ("database", "redis", "kafka")
    return dict(zip(names, await asyncio.gather(_database(), _redis(), _kafka()), strict=True))


async def _database() -> str:
    try:
        async with asyncio.timeout(DEADLINE):
            await sync_to_async(_select_one, thread_sensitive=False, executor=_database_thread)()
    except (DatabaseError, InterfaceError, TimeoutError) as error:
        return f"unreachable: {type(error).__name__}"
    return "ok"


def _select_one() -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        # The connection belongs to a pool thread that no request end would clean up after.
        connection.close()


async def _redis() -> str:
    client = redis.asyncio.Redis.from_url(settings.REDIS_URL, socket_timeout=DEADLINE, socket_connect_timeout=DEADLINE)
    try:
        async with asyncio.timeout(DEADLINE):
            await client.ping()
    except (RedisError, OSError, TimeoutError) as error:
        return f"unreachable: {type(error).__name__}"
    finally:
        await client.aclose()
    return "ok"


async def _kafka() -> str:
    hub = get_hub()
    if hub.draining:
        return "the server stops"
    try:
        async with asyncio.timeout(DEADLINE):
            await hub.log.start()
    except TimeoutError:
        return "the reader has not caught up yet"
    except (LayerError, KafkaException, DatabaseError, InterfaceError) as error:
        return _unreachable(error)
    # A reader that has caught up stays so while Kafka is away: whether it answers must be asked.
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(2 * DEADLINE):
            await loop.run_in_executor(_kafka_thread, _ask_kafka)
    except (KafkaException, TimeoutError) as error:
        return _unreachable(error)
    return "ok" if hub.log.layer.ready else "the reader has not caught up yet"


def _unreachable(error: Exception) -> str:
    logger.warning("Not ready: %s", error)  # with names of servers, which are nobody's business out there
    return f"unreachable: {type(error).__name__}"


def _ask_kafka() -> None:
    with _admin().asking() as admin:
        admin.list_topics(Topic.MESSAGE_CREATED.value, DEADLINE)


@cache
def _admin() -> KeptAdmin:
    return KeptAdmin(settings.KAFKA_BOOTSTRAP_SERVERS, client_id="readiness")


urlpatterns = [path("live", live), path("ready", ready)]

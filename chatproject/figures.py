"""The admin's page of live figures, each read from where it is true for all processes together."""

import logging
from functools import cache as once
from time import time
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]
from django.conf import settings
from django.contrib import admin
from django.core.cache import cache
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.urls import path
from redis.exceptions import RedisError

from events.consumer import GROUP
from events.kept_admin import KeptAdmin
from events.models import ConsumedOffset, DeadLetterDecision
from events.topics import TOPICS, Topic
from messaging.live import read_live
from outbox.rows import measure_pending
from rooms.models import Room

logger = logging.getLogger(__name__)

TIMEOUT = 2.0  # seconds that Kafka has to answer
# However many look at the page, the services are asked this seldom.
SHARED_FOR = 2  # seconds

Figures = dict[str, float]
AWAY = (KafkaException, RedisError, DatabaseError, InterfaceError, OSError)

# What each figure means, in the order of the page; the names are those of `read_figures`.
MEANINGS = [
    ("connections", "WebSockets", "Open on all web processes, as they said within the last 15 s."),
    ("people", "People online", "Each counted once, however many sockets and servers (within 1 %)."),
    ("processes", "Web processes", "That have said something within the last 15 s."),
    ("rate", "Records a second", "Messages, edits, deletions and notices that Kafka took, between two looks here."),
    ("storage_lag", "Storage lag", "Records of the rooms' log that are in Kafka and not yet in PostgreSQL."),
    ("event_lag", "Event lag", "Records of people and rooms that are in Kafka and not yet handled."),
    ("reader_lag", "Reader lag, s", "How far the web process that is furthest behind is from the end of the log."),
    ("outbox_pending", "Outbox", "Committed events that Kafka has not confirmed yet."),
    ("outbox_oldest", "Outbox lag, s", "Age of the oldest of them."),
    ("outbox_dead", "Dead events", "Refused too often; each holds up what comes behind it. See the outbox."),
    ("dead_letters", "Dead letters", "Records that could not be handled and that nobody has decided about."),
    ("rooms", "Rooms", "Of every kind."),
]


@admin.site.admin_view
def page(request: HttpRequest) -> HttpResponse:
    context = {**admin.site.each_context(request), "title": "Live figures", "meanings": MEANINGS}
    return TemplateResponse(request, "admin/figures.html", context)


@admin.site.admin_view
def data(request: HttpRequest) -> HttpResponse:
    figures = cache.get("figures")
    if figures is None:
        figures = read_figures()
        cache.set("figures", figures, SHARED_FOR)
    return JsonResponse(figures)


def read_figures() -> Figures:
    """All figures that can be had now, with the `time` of the look in seconds since 1970; those of a service that is
    away are missing. `records` counts what Kafka has taken since the log began."""
    figures: Figures = {"time": time()}
    for read in (_rows, _web_processes, _log):
        try:
            figures |= read()
        except AWAY as error:
            logger.warning("Live figures: %s could not be read: %s", read.__name__, type(error).__name__)
    return figures


def _rows() -> Figures:
    pending, dead, oldest = measure_pending()
    return {"outbox_pending": pending, "outbox_dead": dead, "outbox_oldest": round(oldest, 1),
            "rooms": Room.objects.count()}  # fmt: skip


def _web_processes() -> Figures:
    processes, people = read_live(settings.REDIS_URL, **settings.REDIS_OPTIONS)
    return {
        "processes": len(processes),
        "people": people,
        "connections": sum(each["connections"] for each in processes.values()),
        "reader_lag": round(max((each["lag_seconds"] for each in processes.values()), default=0.0), 1),
    }


def _log() -> Figures:
    ends = _offsets(OffsetSpec.latest(), *TOPICS)  # type: ignore[no-untyped-call]
    log = {place: end for place, end in ends.items() if place[0] == Topic.MESSAGE_CREATED}
    events = {place: end for place, end in ends.items() if place[0] in {Topic.USER_CREATED, Topic.ROOM_CREATED}}
    rows = ConsumedOffset.objects.filter(topic=Topic.MESSAGE_CREATED).values_list("topic", "partition", "next_offset")
    stored = {(topic, partition): offset for topic, partition, offset in rows}
    (first,) = _offsets(OffsetSpec.earliest(), Topic.DEAD_LETTER).values()  # type: ignore[no-untyped-call]
    decided = DeadLetterDecision.objects.filter(offset__gte=first).count()
    return {
        "records": sum(log.values()),
        "storage_lag": sum(max(0, end - stored.get(place, 0)) for place, end in log.items()),
        "event_lag": sum(max(0, end - offset) for end, offset in _committed(events)),
        "dead_letters": max(0, ends[Topic.DEAD_LETTER, 0] - first - decided),
    }


def _offsets(where: OffsetSpec, *topics: str) -> dict[tuple[str, int], int]:
    places = {
        TopicPartition(topic, number): where for topic in topics for number in range(TOPICS[Topic(topic)].partitions)
    }
    with _kafka().asking() as kafka:
        answers = kafka.list_offsets(places, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=TIMEOUT)
        return {(place.topic, place.partition): answer.result(TIMEOUT).offset for place, answer in answers.items()}


def _committed(ends: dict[tuple[str, int], int]) -> list[tuple[int, int]]:
    """Each end with how far the group has come."""
    asked = ConsumerGroupTopicPartitions(GROUP, [TopicPartition(*place) for place in ends])
    with _kafka().asking() as kafka:
        (answer,) = kafka.list_consumer_group_offsets([asked], request_timeout=TIMEOUT).values()
        places = answer.result(TIMEOUT).topic_partitions or []
    return [(ends[place.topic, place.partition], max(0, place.offset)) for place in places]


@once
def _kafka() -> KeptAdmin:
    return KeptAdmin(settings.KAFKA_BOOTSTRAP_SERVERS, client_id="figures")


urlpatterns: list[Any] = [path("", page, name="figures"), path("data", data, name="figures-data")]

"""Epochs of the log."""

import pytest

from events.models import ConsumedOffset
from events.topics import Topic
from messaging.log import epoch_of

pytestmark = pytest.mark.django_db


def test_a_log_that_was_created_anew_is_stored_from_its_start():
    """What was stored of the former one says nothing about it; other topics are not concerned."""
    topic, other = Topic.MESSAGE_CREATED.value, Topic.ROOM_CREATED.value
    assert epoch_of(topic, "first") == 1
    for each in (topic, other):
        ConsumedOffset.objects.create(topic=each, partition=0, next_offset=1000)
    assert epoch_of(topic, "first") == 1
    assert ConsumedOffset.objects.filter(topic=topic).exists()
    assert epoch_of(topic, "second") == 2
    assert list(ConsumedOffset.objects.values_list("topic", flat=True)) == [other]

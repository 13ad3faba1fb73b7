"""Whether a handle of librdkafka still reaches Kafka.

A broker that stops may answer, as its last word, that there are no brokers. librdkafka (2.13 to 2.16 at least) then
forgets all of them, the bootstrap servers too, and such a handle stays cut off for good, without any error:
https://github.com/confluentinc/librdkafka/issues/5301
"""

import logging
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient

logger = logging.getLogger(__name__)

TIMEOUT = 1.0  # seconds for an answer; whoever asks waits so long, and with it what its thread has to deliver


def is_cut_off(handle: Consumer, client: Mapping[str, Any], topic: str) -> bool:
    """Whether this handle does not reach Kafka although a new one does; blocks. While Kafka is away, none does."""
    return not reaches_kafka(handle, topic) and reaches_kafka(AdminClient(dict(client), logger=logger), topic)


def reaches_kafka(handle: Consumer | Producer | AdminClient, topic: str | None = None) -> bool:
    """Asks for one topic, or for all."""
    try:
        handle.list_topics(topic, timeout=TIMEOUT)
    except KafkaException:
        return False
    return True

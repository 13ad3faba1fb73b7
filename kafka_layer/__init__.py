"""A channel layer for Django Channels whose transport is Apache Kafka. See README.md for what it promises."""

from kafka_layer.errors import (
    BrokerUnavailable,
    InvalidRecord,
    LayerClosed,
    LayerError,
    NotProduced,
    PublishFailed,
    RecordTooLarge,
    TopicMismatch,
    TopicMissing,
    Unsupported,
)
from kafka_layer.layer import KafkaChannelLayer
from kafka_layer.records import Batch, Gap, Joined, Position, Record
from kafka_layer.routes import Route
from kafka_layer.subscription import Subscription

__all__ = [
    "Batch",
    "BrokerUnavailable",
    "Gap",
    "InvalidRecord",
    "Joined",
    "KafkaChannelLayer",
    "LayerClosed",
    "LayerError",
    "NotProduced",
    "Position",
    "PublishFailed",
    "Record",
    "RecordTooLarge",
    "Route",
    "Subscription",
    "TopicMismatch",
    "TopicMissing",
    "Unsupported",
]

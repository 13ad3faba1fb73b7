"""Which partition a key lives in: computed here for senders and readers alike."""

from confluent_kafka import murmur2


def partition_of(key: str, partition_count: int) -> int:
    """The partition that Java clients choose, and librdkafka with `partitioner=murmur2_random`."""
    return int(murmur2(key.encode(), partition_count))

"""What an operator watches of the event consumer."""

from prometheus_client import Counter, Gauge, Histogram

HANDLED = Counter("chat_event_records_handled", "Records handled by the event consumer.", ["topic"])
DEAD = Counter("chat_event_records_dead", "Records set aside on the dead-letter topic.", ["topic"])
LOST = Counter("chat_event_records_lost", "Records that Kafka deleted before they were handled.", ["topic"])
RETRIES = Counter("chat_event_retries", "Batches that wait for a service to come back.", ["topic"])
STALLED = Gauge("chat_event_stalled_partitions", "Partitions that wait and are tried again.", ["topic"])
STOPPED = Gauge("chat_event_stopped_partitions", "Partitions that stand still because too many records are bad.")
LAG = Gauge("chat_event_lag_records", "Records in this process's partitions that are not handled yet.", ["topic"])
LAG_SECONDS = Histogram(
    "chat_event_lag_seconds",
    "From the broker's time stamp of a batch's oldest record to its being handled.",
    ["topic"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600),
)
READY = Gauge("chat_event_consumer_ready", "0: no progress while there is lag, or a partition that stands still.")

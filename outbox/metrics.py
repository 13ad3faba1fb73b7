"""What an operator watches of the outbox."""

from prometheus_client import Counter, Gauge, Histogram

PENDING = Gauge("chat_outbox_pending", "Rows that are committed and not acknowledged by Kafka, dead ones included.")
OLDEST = Gauge("chat_outbox_oldest_seconds", "Age of the oldest unsent row: the outbox lag.")
PUBLISH = Histogram(
    "chat_outbox_publish_seconds",
    "From recording an event to its row being marked as acknowledged.",
    buckets=(0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
FENCED = Counter("chat_outbox_fenced", "Writes rejected because somebody else had taken over.", ["write"])
DEAD = Counter("chat_outbox_dead", "Rows given up after their last attempt.")
LEADING = Gauge("chat_outbox_lease_epoch", "The epoch under which this process drains the outbox; 0: it stands by.")

# Shown from the start, so that an alert can compare with zero.
for write in ("mark", "renewal"):
    FENCED.labels(write)

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
DEAD_NOW = Gauge("chat_outbox_dead_now", "Dead rows about which nobody has decided; each holds up its aggregate.")
LEADING = Gauge("chat_outbox_lease_epoch", "The epoch under which this process drains the outbox; 0: it stands by.")
LEASE_AGE = Gauge(
    "chat_outbox_lease_age_seconds",
    "Since the lease was renewed, by the database's clock, from each poller, also those that stand by; NaN: it cannot"
    " be asked. More than the lease's life: nobody drains the outbox.",
)
# Counters, and not what is wrong now: an alert on their increase is there for as long as its window, and then ends.
ANEW = " Whoever begins to drain the outbox looks back, and counts anew, what is up to 10 minutes old."
AUDIT_MISSING = Counter("chat_outbox_audit_missing", "Rows marked as sent whose records are not in Kafka." + ANEW)
AUDIT_UNEXPECTED = Counter("chat_outbox_audit_unexpected", "Records in Kafka without a committed row." + ANEW)
AUDIT_DISORDERED = Counter("chat_outbox_audit_disordered", "Records that came after a higher version of theirs." + ANEW)
AUDIT_GAPS = Counter("chat_outbox_audit_gaps", "Sent rows before which one of their aggregate was deleted." + ANEW)
AUDIT_REPEATED = Counter("chat_outbox_audit_repeated", "Records that were there before, which readers drop." + ANEW)
AUDITED = Gauge(
    "chat_outbox_audit_timestamp_seconds",
    "When this process last compared all of the outbox with Kafka, in seconds since 1970; 0: never. Only the one that"
    " drains the outbox does.",
)

# Shown from the start, so that an alert can compare with zero.
for write in ("mark", "renewal"):
    FENCED.labels(write)

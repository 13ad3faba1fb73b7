from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations
from django.db.models import Index, Q
from django.db.models.fields.json import KeyTextTransform

NAMES = ("message_room_changes", "message_notice_user", "message_notice_by", "message_deleted_by", "message_words")


class Migration(migrations.Migration):
    """The indexes are built while people talk, however long that takes. A build that was killed leaves an invalid index
    under its name, which the next run takes away first: this may be run until it succeeds."""

    atomic = False
    dependencies = [("messaging", "0006_search")]
    operations = [
        # The limits of those who answer people would cancel the build of a large table's index.
        migrations.RunSQL("SET statement_timeout = 0", migrations.RunSQL.noop),
        migrations.RunSQL("SET lock_timeout = 0", migrations.RunSQL.noop),
        *(migrations.RunSQL(f"DROP INDEX CONCURRENTLY IF EXISTS {name}", migrations.RunSQL.noop) for name in NAMES),
        AddIndexConcurrently(
            "message",
            Index(
                fields=["room", "changed_epoch", "changed_offset"],
                name="message_room_changes",
                condition=Q(changed_epoch__isnull=False),
            ),
        ),
        AddIndexConcurrently(
            "message",
            Index(KeyTextTransform("user", "notice"), name="message_notice_user", condition=Q(kind="notice")),
        ),
        AddIndexConcurrently(
            "message", Index(KeyTextTransform("by", "notice"), name="message_notice_by", condition=Q(kind="notice"))
        ),
        AddIndexConcurrently(
            "message", Index(fields=["deleted_by"], name="message_deleted_by", condition=~Q(deleted_by=""))
        ),
        AddIndexConcurrently("message", GinIndex(fields=["words"], name="message_words")),
        migrations.RunSQL("RESET statement_timeout", migrations.RunSQL.noop),
        migrations.RunSQL("RESET lock_timeout", migrations.RunSQL.noop),
    ]

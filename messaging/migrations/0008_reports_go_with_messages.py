import django.db.models.deletion
from django.db import migrations, models

# Found by its column: the name is Django's business.
CONSTRAIN = """
DO $$
DECLARE
    former name;
BEGIN
    SELECT conname INTO STRICT former FROM pg_constraint
    WHERE conrelid = 'messaging_report'::regclass AND confrelid = 'messaging_message'::regclass AND contype = 'f';
    EXECUTE format('ALTER TABLE messaging_report DROP CONSTRAINT %I', former);
    EXECUTE format('ALTER TABLE messaging_report ADD CONSTRAINT %I FOREIGN KEY (message_id)'
        ' REFERENCES messaging_message (id) {on_delete} DEFERRABLE INITIALLY DEFERRED', former);
END
$$
"""


class Migration(migrations.Migration):
    """PostgreSQL deletes a report with its message, so that the messages of a room are one DELETE for Django."""

    dependencies = [("messaging", "0007_indexes_built_aside")]
    operations = [
        migrations.AlterField(
            model_name="report",
            name="message",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.DO_NOTHING, related_name="reports", to="messaging.message"
            ),
        ),
        migrations.RunSQL(
            CONSTRAIN.replace("{on_delete}", "ON DELETE CASCADE"), CONSTRAIN.replace("{on_delete}", "")
        ),
    ]

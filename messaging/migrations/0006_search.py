import django.contrib.postgres.indexes
import django.contrib.postgres.search
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations


class Migration(migrations.Migration):
    """The column is there at once, whatever the table holds, and the index is built while people talk. Messages of before
    are found when `manage.py index_messages` has been run."""

    atomic = False
    dependencies = [("messaging", "0005_personal_data")]
    operations = [
        migrations.AddField(
            model_name="message",
            name="words",
            field=django.contrib.postgres.search.SearchVectorField(
                help_text="What the search knows of the text; null: not indexed, or a notice.", null=True
            ),
        ),
        AddIndexConcurrently(
            model_name="message",
            index=django.contrib.postgres.indexes.GinIndex(fields=["words"], name="message_words"),
        ),
    ]

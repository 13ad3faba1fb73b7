import django.contrib.postgres.search
from django.db import migrations


class Migration(migrations.Migration):
    """The column is there at once, whatever the table holds. Messages of before are found when `manage.py
    index_messages` has been run."""

    dependencies = [("messaging", "0004_report")]
    operations = [
        migrations.AddField(
            model_name="message",
            name="words",
            field=django.contrib.postgres.search.SearchVectorField(
                help_text="What the search knows of the text; null: not indexed, or a notice.", null=True
            ),
        ),
    ]

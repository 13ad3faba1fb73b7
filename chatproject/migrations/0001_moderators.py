"""The staff role of moderators: they look at people, rooms and reports, deactivate people and sign them out. They change
no rights and read no messages but reported ones; whoever shall gets the permission `messaging.view_message` as well."""

from django.db import migrations

NAME = "Moderators"
# (app, model, codename)
PERMISSIONS = [
    ("accounts", "user", "view_user"),
    ("accounts", "user", "moderate_user"),
    ("rooms", "room", "view_room"),
    ("rooms", "membership", "view_membership"),
    ("rooms", "ban", "view_ban"),
    ("rooms", "moderationentry", "view_moderationentry"),
    ("messaging", "report", "view_report"),
]
# Those that are not Django's "Can view user".
NAMES = {"moderate_user": "Can deactivate people and sign them out", "view_moderationentry": "Can view moderation entry"}


def make_moderators(apps, schema_editor):
    """Django makes permissions when all migrations have run, which is too late here; it finds these then."""
    ContentType = apps.get_model("contenttypes", "ContentType")
    Permission = apps.get_model("auth", "Permission")
    group, _ = apps.get_model("auth", "Group").objects.get_or_create(name=NAME)
    for app, model, codename in PERMISSIONS:
        type, _ = ContentType.objects.get_or_create(app_label=app, model=model)
        name = NAMES.get(codename, f"Can {codename.replace('_', ' ')}")
        permission, _ = Permission.objects.get_or_create(
            content_type=type, codename=codename, defaults={"name": name}
        )
        group.permissions.add(permission)


class Migration(migrations.Migration):
    initial = True
    dependencies = [
        ("accounts", "0004_moderate_user"),
        ("rooms", "0005_moderation_entry"),
        ("messaging", "0004_report"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]
    operations = [migrations.RunPython(make_moderators, migrations.RunPython.noop)]

from django.contrib import admin
from django.contrib.admin.models import LogEntry

from events.admin import ReadOnlyAdmin


@admin.register(LogEntry)
class LogEntryAdmin(ReadOnlyAdmin):
    """Who of the staff did or looked at what; for those who watch the staff."""

    list_display = ("action_time", "user", "content_type", "object_repr", "change_message")
    list_filter = ("action_time", "content_type")
    search_fields = ("user__username", "=object_id")
    list_select_related = ("user", "content_type")
    show_full_result_count = False

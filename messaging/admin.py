from django.contrib import admin
from django.http import HttpRequest

from messaging.models import Message


@admin.register(Message)
class MessageAdmin(admin.ModelAdmin[Message]):
    """Messages are read-only: the log is their truth, and only the event consumer writes the rows."""

    list_display = ["room", "kind", "sender_name", "text", "time"]
    list_filter = ["kind"]
    search_fields = ["uid", "sender_name"]
    list_select_related = ["room"]
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Message | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Message | None = None) -> bool:
        return False

from django.contrib import admin
from django.http import HttpRequest

from messaging.models import Message, Report


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


@admin.register(Report)
class ReportAdmin(admin.ModelAdmin[Report]):
    """Reports are read, and taken away with their message."""

    list_display = ["created_at", "reason", "by", "room", "sender", "text"]
    list_filter = ["created_at"]
    search_fields = ["reason", "by__username", "message__sender_name"]
    list_select_related = ["by", "message__room"]
    ordering = ["-pk"]

    def room(self, report: Report) -> str:
        return report.message.room.name

    def sender(self, report: Report) -> str:
        return report.message.sender_name

    def text(self, report: Report) -> str:
        return report.message.text

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Report | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Report | None = None) -> bool:
        return False

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.utils import unquote
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from accounts.auth import caller
from messaging.models import Message, Report
from rooms.models import Room

ROOM = "room__id__exact"


@admin.register(Message)
class MessageAdmin(admin.ModelAdmin[Message]):
    """One room's messages, read-only: the log is their truth, and only the event consumer writes the rows.

    What people said in private is shown to nobody without the permission `view_message`, and looking is written down
    first: who looked at which room or message, and when. The room's history and the log entries show it.
    """

    list_display = ["time", "kind", "sender_name", "text"]
    list_filter = ["kind"]
    search_fields = ["uid", "sender_name"]
    list_per_page = 50
    show_full_result_count = False

    def get_ordering(self, request: HttpRequest) -> list[str]:
        return ["-epoch", "-offset"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Message]:
        return super().get_queryset(request).select_related("room")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Message | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Message | None = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        room = _room_asked_for(request)
        if self.has_view_permission(request) and room is None:
            self.message_user(request, "Choose a room; its messages are linked in the list.", messages.INFO)
            return HttpResponseRedirect(reverse("admin:rooms_room_changelist"))
        if self.has_view_permission(request) and room is not None:
            _write_down(request, room, "Looked at the messages.")
        return super().changelist_view(request, {"title": f"Messages in {room}", **(extra_context or {})})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        message = self.get_object(request, unquote(object_id))
        if message is not None and self.has_view_permission(request, message):
            _write_down(request, message.room, f"Looked at the message {message.uid}.")
        return super().change_view(request, object_id, form_url, extra_context)


@admin.register(Report)
class ReportAdmin(admin.ModelAdmin[Report]):
    """Reports are read, and taken away with their message. The page of one shows what was said, and who looks at it is
    written down."""

    list_display = ["created_at", "reason", "by", "room", "sender"]
    fields = ["created_at", "reason", "by", "room", "sender", "text"]
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

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        report = self.get_object(request, unquote(object_id))
        if report is not None and self.has_view_permission(request, report):
            _write_down(request, report.message.room, f"Looked at the reported message {report.message.uid}.")
        return super().change_view(request, object_id, form_url, extra_context)


def _room_asked_for(request: HttpRequest) -> Room | None:
    """The list shows the rooms of all values of the parameter, and one is written down: so there is exactly one."""
    match request.GET.getlist(ROOM):
        case [number] if number.isdecimal() and len(number) < 19:
            return Room.objects.filter(pk=number).first()
    return None


def _write_down(request: HttpRequest, room: Room, what: str) -> None:
    LogEntry.objects.log_actions(caller(request).pk, [room], CHANGE, change_message=what, single_object=True)

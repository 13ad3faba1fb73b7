from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from rooms import services
from rooms.models import Membership, Room


@admin.register(Room)
class RoomAdmin(admin.ModelAdmin[Room]):
    """Writes through the services' steps: the admin's own transaction holds row and outbox row."""

    list_display = ["name", "kind", "owner", "created_at"]
    list_filter = ["kind"]
    search_fields = ["name", "owner__username"]
    list_select_related = ["owner"]
    autocomplete_fields = ["owner"]
    ordering = ["-pk"]

    def get_readonly_fields(self, request: HttpRequest, obj: Room | None = None) -> list[str]:
        """Of a room that exists the name may change."""
        return [] if obj is None else ["kind", "owner"]

    def save_model(self, request: HttpRequest, obj: Room, form: Any, change: bool) -> None:
        if not change:
            services.add_room_step(obj)
        elif "name" in form.changed_data:
            services.save_room_step(obj, by=request.user)

    def delete_model(self, request: HttpRequest, obj: Room) -> None:
        services.delete_room_step(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Room]) -> None:
        for room in queryset:
            services.delete_room_step(room)


@admin.register(Membership)
class MembershipAdmin(admin.ModelAdmin[Membership]):
    """Members are added and removed; roles change with a later issue's services."""

    list_display = ["room", "user", "role", "joined_at"]
    list_filter = ["role"]
    search_fields = ["room__name", "user__username"]
    list_select_related = ["room", "user"]
    autocomplete_fields = ["room", "user"]
    fields = ["room", "user"]

    def has_change_permission(self, request: HttpRequest, obj: Membership | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Membership | None = None) -> bool:
        """A room keeps its owner."""
        is_owner = obj is not None and obj.role == Membership.Role.OWNER
        return not is_owner and super().has_delete_permission(request, obj)

    def save_model(self, request: HttpRequest, obj: Membership, form: Any, change: bool) -> None:
        services.add_member_step(obj.room, obj.user, reason="added", by=request.user)

    def delete_model(self, request: HttpRequest, obj: Membership) -> None:
        services.remove_member_step(obj, reason="kicked", by=request.user)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Membership]) -> None:
        for membership in queryset.exclude(role=Membership.Role.OWNER):
            services.remove_member_step(membership, reason="kicked", by=request.user)

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from accounts.auth import caller
from accounts.errors import ChatError, ErrorCode
from rooms import moderation, services
from rooms.models import Ban, Membership, ModerationEntry, Room


@admin.register(Room)
class RoomAdmin(admin.ModelAdmin[Room]):
    """Writes through the services' steps: the admin's own transaction holds row and outbox row."""

    list_display = ["name", "kind", "owner", "created_at", "messages"]
    list_filter = ["kind"]
    search_fields = ["name", "owner__username"]
    list_select_related = ["owner"]
    autocomplete_fields = ["owner"]
    ordering = ["-pk"]

    def get_readonly_fields(self, request: HttpRequest, obj: Room | None = None) -> list[str]:
        """Of a room that exists the name may change; that of a direct one is nobody's."""
        if obj is None:
            return []
        return ["name", "kind", "owner"] if obj.kind == Room.Kind.DIRECT else ["kind", "owner"]

    def formfield_for_choice_field(self, db_field: Any, request: HttpRequest, **options: Any) -> Any:
        """A direct room has exactly two members; nobody makes one by hand."""
        if db_field.name == "kind":
            options["choices"] = [choice for choice in Room.Kind.choices if choice[0] != Room.Kind.DIRECT]
        return super().formfield_for_choice_field(db_field, request, **options)

    def get_list_display(self, request: HttpRequest) -> Any:
        shown = super().get_list_display(request)
        return shown if request.user.has_perm("messaging.view_message") else [c for c in shown if c != "messages"]

    def messages(self, room: Room) -> str:
        url = reverse("admin:messaging_message_changelist", query={"room__id__exact": room.pk})
        return format_html('<a href="{}">look (is recorded)</a>', url)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Members and messages go with their room, whatever may be done to them alone; a page that named each message
        would be too long to read."""
        return [str(room) for room in objs], {"rooms": len(objs)}, set(), []

    def save_model(self, request: HttpRequest, obj: Room, form: Any, change: bool) -> None:
        if not change:
            services.add_room_step(obj)
        elif "name" in form.changed_data:
            services.lock_rooms_step([obj.pk])
            # The form's room was read before the lock: another version, and perhaps another owner, stands there now.
            room = Room.objects.get(pk=obj.pk)
            room.name = obj.name
            services.save_room_step(room, by=caller(request))

    def delete_model(self, request: HttpRequest, obj: Room) -> None:
        services.lock_rooms_step([obj.pk])
        services.delete_room_step(obj, by=caller(request))

    @transaction.atomic
    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Room]) -> None:
        """Django's "delete selected" has no transaction of its own."""
        services.lock_rooms_step(queryset.values_list("pk", flat=True))
        for room in queryset:
            services.delete_room_step(room, by=caller(request))


class MembershipForm(forms.ModelForm[Membership]):
    def clean(self) -> None:
        """A direct room has its two people, and who is banned is let in again first."""
        room, user = self.cleaned_data.get("room"), self.cleaned_data.get("user")
        if room is not None and room.kind == Room.Kind.DIRECT:
            raise ValidationError("Nobody is added to a direct room.")
        if room is not None and user is not None and Ban.objects.of(user.pk).filter(room=room).exists():
            raise ValidationError("That person is banned from this room; lift the ban first.")

    def clean_role(self) -> str:
        """A room keeps its owner."""
        role: str = self.cleaned_data["role"]
        if self.initial["role"] == Membership.Role.OWNER != role:
            raise ValidationError("Hand the room over: make another member its owner.")
        return role


@admin.register(Membership)
class MembershipAdmin(admin.ModelAdmin[Membership]):
    """Members are added and removed, muted and given roles."""

    form = MembershipForm
    list_display = ["room", "user", "role", "muted_until", "joined_at"]
    list_filter = ["role"]
    search_fields = ["room__name", "user__username"]
    list_select_related = ["room", "user"]
    autocomplete_fields = ["room", "user"]

    def get_fields(self, request: HttpRequest, obj: Membership | None = None) -> Any:
        return ["room", "user"] if obj is None else ["room", "user", "role", "muted_until"]

    def get_readonly_fields(self, request: HttpRequest, obj: Membership | None = None) -> list[str]:
        return [] if obj is None else ["room", "user"]

    def has_change_permission(self, request: HttpRequest, obj: Membership | None = None) -> bool:
        """Nobody leads a direct room."""
        in_direct = obj is not None and obj.room.kind == Room.Kind.DIRECT
        return not in_direct and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Membership | None = None) -> bool:
        """A room keeps its owner, a direct room its people."""
        stays = obj is not None and (obj.role == Membership.Role.OWNER or obj.room.kind == Room.Kind.DIRECT)
        return not stays and super().has_delete_permission(request, obj)

    def save_model(self, request: HttpRequest, obj: Membership, form: Any, change: bool) -> None:
        services.lock_rooms_step([obj.room.pk])
        if change:
            member = Membership.objects.select_related("room", "user").filter(pk=obj.pk).first()
            if member is None:
                raise ChatError(ErrorCode.CONFLICT, "That person has left the room meanwhile.")
            moderation.set_role_step(member, obj.role, by=caller(request))
            moderation.set_mute_step(member, obj.muted_until, by=caller(request))
            return
        services.add_member_step(obj.room, obj.user, reason="added", by=caller(request))
        obj.pk = obj.room.memberships.get(user=obj.user).pk

    def delete_model(self, request: HttpRequest, obj: Membership) -> None:
        services.lock_rooms_step([obj.room.pk])
        services.remove_member_step(obj, reason="kicked", by=caller(request))

    @transaction.atomic
    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Membership]) -> None:
        """Django's "delete selected" has no transaction of its own."""
        services.lock_rooms_step(queryset.values_list("room_id", flat=True))
        stays = Q(role=Membership.Role.OWNER) | Q(room__kind=Room.Kind.DIRECT)
        stayed = queryset.filter(stays).count()
        for membership in queryset.exclude(stays):
            services.remove_member_step(membership, reason="kicked", by=caller(request))
        if stayed:
            self.message_user(
                request, f"{stayed} stayed: a room keeps its owner, a direct room its people.", messages.WARNING
            )


@admin.register(Ban)
class BanAdmin(admin.ModelAdmin[Ban]):
    """People are banned and bans lifted; one that is to be changed is lifted first."""

    list_display = ["room", "user", "by", "until", "reason", "created_at"]
    search_fields = ["room__name", "user__username"]
    list_select_related = ["room", "user", "by"]
    autocomplete_fields = ["room", "user"]
    fields = ["room", "user", "until", "reason"]

    def has_change_permission(self, request: HttpRequest, obj: Ban | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Ban, form: Any, change: bool) -> None:
        services.lock_rooms_step([obj.room.pk])
        obj.by = caller(request)
        moderation.ban_step(obj, by=caller(request))

    def delete_model(self, request: HttpRequest, obj: Ban) -> None:
        moderation.lift_step(obj, by=caller(request))

    @transaction.atomic
    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Ban]) -> None:
        """Django's "delete selected" has no transaction of its own."""
        for ban in queryset.select_related("room", "user"):
            moderation.lift_step(ban, by=caller(request))


@admin.register(ModerationEntry)
class ModerationEntryAdmin(admin.ModelAdmin[ModerationEntry]):
    """What happened is looked at, and not changed."""

    list_display = ["created_at", "action", "actor", "subject", "room", "detail", "until", "reason"]
    list_filter = ["action", "created_at"]
    search_fields = ["=room", "actor", "subject"]
    ordering = ["-pk"]
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: ModerationEntry | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ModerationEntry | None = None) -> bool:
        return False

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts import services
from accounts.models import User


class NewUserForm(AdminUserCreationForm):
    class Meta:
        model = User
        fields = ("username",)


@admin.register(User)
class UserAdmin(DjangoUserAdmin):
    """Writes through the services' steps: the admin's own transaction holds row and outbox row."""

    add_form = NewUserForm
    list_display = ["username", "is_active", "is_staff", "created_at"]
    list_filter = ["is_active", "is_staff"]
    search_fields = ["username", "username_key"]
    ordering = ["username_key"]
    readonly_fields = ["created_at", "last_login"]
    fieldsets = (
        (None, {"fields": ("username", "password", "is_active")}),
        ("Rights", {"fields": ("is_staff", "is_superuser", "groups", "user_permissions")}),
        ("Dates", {"fields": ("created_at", "last_login")}),
    )
    add_fieldsets = ((None, {"fields": ("username", "usable_password", "password1", "password2")}),)
    actions = ["deactivate", "sign_out"]

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        """A user id never changes: messages, caches and other people know it."""
        fields = super().get_readonly_fields(request, obj)
        return fields if obj is None else [*fields, "username"]

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        if change:
            services.save_user_step(obj)
        else:
            services.add_user_step(obj)

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        services.delete_user_step(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for user in queryset:
            services.delete_user_step(user)

    @admin.action(description="Deactivate the selected users")
    def deactivate(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for user in queryset.filter(is_active=True):
            services.deactivate_user(user=user)

    @admin.action(description="Sign the selected users out everywhere")
    def sign_out(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for user in queryset:
            services.sign_out_everywhere(user=user)

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminPasswordChangeForm, AdminUserCreationForm
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts import services
from accounts.models import User


class NewUserForm(AdminUserCreationForm):
    class Meta:
        model = User
        fields = ("username",)


class PasswordForm(AdminPasswordChangeForm):  # type: ignore[type-arg]  # no generic class at run time
    """Sets a password through the service, so that tokens, sessions and sockets end with the old one."""

    def save(self, commit: bool = True) -> User:
        user: User = self.user
        usable = self.cleaned_data["set_usable_password"]
        services.set_password(user=user, password=self.cleaned_data["password1"] if usable else None)
        return user


@admin.register(User)
class UserAdmin(DjangoUserAdmin):  # type: ignore[type-arg]  # its stub wants an AbstractUser
    """Writes through the services' steps: the admin's own transaction holds row and outbox row."""

    add_form = NewUserForm
    change_password_form = PasswordForm
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

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Memberships go with their person, whatever may be done to them alone; rooms that the person owns stand in
        the way."""
        names, counts, _, protected = super().get_deleted_objects(objs, request)
        return names, counts, set(), protected

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        if change:
            columns = {field.name for field in obj._meta.concrete_fields}
            services.save_user_step(obj, fields=columns.intersection(form.changed_data))
        else:
            services.add_user_step(obj)

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        services.delete_user_step(obj)

    @transaction.atomic
    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Django's "delete selected" has no transaction of its own."""
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

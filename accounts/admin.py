from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminPasswordChangeForm, AdminUserCreationForm
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from accounts import services
from accounts.auth import caller, check_credentials
from accounts.errors import ChatError
from accounts.models import User


class SignInForm(AdminAuthenticationForm):
    """Guesses count here as they do at the REST door."""

    def clean(self) -> dict[str, Any]:
        username, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if self.request is not None and username and password:
            try:
                user = check_credentials(self.request, username, password)
            except ChatError as error:
                raise ValidationError(error.detail) from None
            self.confirm_login_allowed(user)
            self.user_cache = user
        return self.cleaned_data


admin.site.login_form = SignInForm


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
    """Writes through the services' steps: the admin's own transaction holds row and outbox row.

    Rights and passwords are a superuser's business: who could give a right or set a password could have every right.
    Others act on the accounts of ordinary people only.
    """

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
    actions = ["deactivate", "sign_out", "erase"]

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        """A user id never changes: messages, caches and other people know it."""
        fields = super().get_readonly_fields(request, obj)
        rights = [] if _is_superuser(request) else ["is_staff", "is_superuser", "groups", "user_permissions"]
        return [*fields, *rights] if obj is None else [*fields, *rights, "username"]

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Who was erased stays as that left the account, above all closed."""
        erased = obj is not None and obj.is_erased
        return not erased and super().has_change_permission(request, obj) and _may_act_on(request, obj)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:  # type: ignore[override]  # overloaded
        """Not by e-mail address: who may list people could spell addresses out, sign by sign."""
        return not lookup.startswith("email") and super().lookup_allowed(lookup, value, request)

    def has_moderate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("accounts.moderate_user") or super().has_change_permission(request)

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        if not _is_superuser(request):
            raise PermissionDenied
        return super().user_change_password(request, id, form_url)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Nobody is deleted: that would set the id free for somebody who is then taken for the person. See `erase`."""
        return False

    def has_erase_permission(self, request: HttpRequest) -> bool:
        return caller(request).has_perm("accounts.delete_user")

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        if change:
            columns = {field.name for field in obj._meta.concrete_fields}
            services.save_user_step(obj, fields=columns.intersection(form.changed_data))
        else:
            services.add_user_step(obj)

    @admin.action(description="Deactivate the selected users", permissions=["moderate"])
    def deactivate(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        self._act(request, queryset.filter(is_active=True), services.deactivate_user, "Deactivated.")

    @admin.action(description="Sign the selected users out everywhere", permissions=["moderate"])
    def sign_out(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        self._act(request, queryset, services.sign_out_everywhere, "Signed out everywhere.")

    @admin.action(description="Erase the selected people, who were deactivated before", permissions=["erase"])
    def erase(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """In two steps, since there is no way back."""
        for user in queryset.filter(is_active=True):
            messages.error(request, f"{user.username} is still active: deactivate first whom you want to erase.")
        self._act(request, queryset.filter(is_active=False), services.begin_erasure, "Erased.")

    def _act(self, request: HttpRequest, users: QuerySet[User], act: Callable[..., None], done: str) -> None:
        """Act on each, and write down who did; accounts of the staff stay unless a superuser asks."""
        others = [user for user in users if not _may_act_on(request, user)]
        for user in users.exclude(pk__in=[other.pk for other in others]):
            act(user=user)
            self.log_change(request, user, done)
        if others:
            self.message_user(request, f"{len(others)} of the staff stay: ask a superuser.", messages.WARNING)


def _is_superuser(request: HttpRequest) -> bool:
    return isinstance(request.user, User) and request.user.is_superuser


def _may_act_on(request: HttpRequest, user: User | None) -> bool:
    return _is_superuser(request) or user is None or not (user.is_staff or user.is_superuser)

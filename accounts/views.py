"""The pages of a forgotten password: Django's, with the app's looks, and a service that writes."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth import views
from django.contrib.auth.forms import SetPasswordForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse_lazy
from django.views.generic import FormView

from accounts import services
from accounts.errors import ChatError
from accounts.models import User
from accounts.reset import public_origin, request_reset
from accounts.tokens import reset_tokens


class AddressForm(forms.Form):
    email = forms.EmailField(
        label="E-mail address", widget=forms.EmailInput(attrs={"autocomplete": "email", "autofocus": True})
    )


class NewPasswordForm(SetPasswordForm):  # type: ignore[type-arg]  # no generic class at run time
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["new_password1"].help_text = ""


class ForgottenPasswordView(FormView[AddressForm]):
    """Asks for an address and answers the same whether or not it is known."""

    form_class = AddressForm
    template_name = "accounts/forgotten_password.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        offered = settings.SENDS_MAIL and public_origin(self.request) is not None
        return super().get_context_data(offered=offered, **kwargs)

    def form_valid(self, form: AddressForm) -> HttpResponse:
        origin = public_origin(self.request)
        if not settings.SENDS_MAIL or origin is None:
            return self.form_invalid(form)
        try:
            client = self.request.META.get("REMOTE_ADDR", "")
            request_reset(email=form.cleaned_data["email"], client=client, origin=origin)
        except ChatError as refusal:
            form.add_error(None, refusal.detail)
            return self.render_to_response(self.get_context_data(form=form), status=refusal.code.http_status)
        return redirect("reset-sent")


class NewPasswordView(views.PasswordResetConfirmView):
    """Sets the password of whoever has the link."""

    form_class = NewPasswordForm
    template_name = "accounts/new_password.html"
    success_url = reverse_lazy("password-is-set")
    token_generator = reset_tokens

    def form_valid(self, form: "SetPasswordForm[User]") -> HttpResponse:
        token = self.request.session.pop(views.INTERNAL_RESET_SESSION_TOKEN, "")
        try:
            services.reset_password(user=form.user, token=token, password=form.cleaned_data["new_password1"])
        except ChatError:
            # Another one with the link was faster.
            self.validlink = False
            return self.render_to_response(self.get_context_data())
        return redirect(self.get_success_url())


def reset_sent(request: HttpRequest) -> HttpResponse:
    return render(request, "accounts/reset_sent.html")


def password_is_set(request: HttpRequest) -> HttpResponse:
    return render(request, "accounts/password_is_set.html")

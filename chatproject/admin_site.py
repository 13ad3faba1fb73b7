"""The admin's own doors, which must do what the chat's do: end sockets with the session, and what a password opened."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.db import DataError
from django.http import HttpRequest, HttpResponseBadRequest, HttpResponseRedirect

from accounts.auth import session_is_alive
from accounts.errors import ChatError
from accounts.models import User
from accounts.services import end_session

logger = logging.getLogger(__name__)

View = Callable[..., Any]


class ChatAdminSite(AdminSite):
    def has_permission(self, request: HttpRequest) -> bool:
        """A cache that was away when the session ended may know it still: the table is asked."""
        key = request.session.session_key
        return super().has_permission(request) and key is not None and session_is_alive(key)

    def logout(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        user = request.user
        response = super().logout(request, extra_context)
        if isinstance(user, User):
            end_session(user=user)
        return response

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """On the account page, where guesses count, and tokens and sockets end with the old password."""
        return HttpResponseRedirect("/account")

    def admin_view(self, view: View, cacheable: bool = False) -> Any:
        """What a service refuses since things changed under the form is told on the page, and what no form has made
        is a bad request, however deep it is found out."""
        inner: View = super().admin_view(view, cacheable)

        @wraps(inner)
        def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            try:
                return inner(request, *args, **kwargs)
            except ChatError as problem:
                messages.error(request, problem.detail)
                return HttpResponseRedirect(request.path)
            except (DataError, OverflowError, ValueError) as error:
                logger.warning("The admin was asked what it does not understand: %s", type(error).__name__)
                return HttpResponseBadRequest("This cannot be asked here.")

        return checked

"""NUL in a query string: PostgreSQL has no such text, and a list of the admin that looks for it would fail."""

from collections.abc import Callable

from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse


def refuse_nul(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: 400, whatever the page."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if "%00" in request.META["QUERY_STRING"]:
            raise BadRequest("The query string holds a NUL.")
        return get_response(request)

    return middleware

"""The REST door: all routers, and one shape for every error (RFC 9457 `application/problem+json`)."""

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import orjson
from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError

from accounts.api import router as accounts_router
from accounts.bodies import BodyParser
from accounts.errors import ChatError, ErrorCode
from chatproject.openapi import PROBLEM, declare_problems
from messaging.api import router as messaging_router
from messaging.personal_api import router as personal_router
from rooms.api import router as rooms_router

logger = logging.getLogger(__name__)


class ChatAPI(NinjaAPI):
    def get_openapi_schema(self, **options: Any) -> Any:
        document = super().get_openapi_schema(**options)
        declare_problems(document)
        return document


api = ChatAPI(
    title="Chat",
    version="1",
    docs_url="/docs",
    openapi_url="/openapi.json",
    urls_namespace="api",
    parser=BodyParser(),
)
api.add_router("", accounts_router)
api.add_router("", rooms_router)
api.add_router("", messaging_router)
api.add_router("", personal_router)

# What a framework's own status means in the protocol's words.
CODES_BY_STATUS = {
    400: ErrorCode.INVALID,
    401: ErrorCode.UNAUTHENTICATED,
    403: ErrorCode.FORBIDDEN,
    404: ErrorCode.NOT_FOUND,
    405: ErrorCode.METHOD_NOT_ALLOWED,
    413: ErrorCode.TOO_LARGE,
    429: ErrorCode.RATE_LIMITED,
}


# What the framework answers by itself, outside the API's own handlers.
PLAIN_DETAILS = {
    400: "The request is malformed, or asks for a host that this is not.",
    404: "There is no such call.",
    405: "This call does not take that method.",
}


def explain_plain_errors(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: an unknown path or method under the API is a problem document too, like every other error there."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        is_plain = response.headers.get("Content-Type") != PROBLEM
        if request.path.startswith("/api/") and response.status_code in PLAIN_DETAILS and is_plain:
            answer = problem(ChatError(CODES_BY_STATUS[response.status_code], PLAIN_DETAILS[response.status_code]))
            for name, value in response.headers.items():
                if name not in {"Content-Length", "Content-Type"}:
                    answer.headers.setdefault(name, value)
            return answer
        return response

    return middleware


def problem(error: ChatError) -> HttpResponse:
    """Render an error as `application/problem+json` with the protocol's `code`."""
    status = error.code.http_status
    body: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": error.code.value,
        "detail": error.detail,
    }
    response = HttpResponse(status=status, content_type=PROBLEM)
    if error.retry_after is not None:
        body["retry_after"] = error.retry_after
        response["Retry-After"] = str(max(1, round(error.retry_after)))
    response.content = orjson.dumps(body)
    return response


@api.exception_handler(ChatError)
def _on_chat_error(request: HttpRequest, error: ChatError) -> HttpResponse:
    return problem(error)


@api.exception_handler(AuthenticationError)
def _on_unauthenticated(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
    return problem(ChatError(ErrorCode.UNAUTHENTICATED, "Sign in, or send a valid token."))


@api.exception_handler(ValidationError)
def _on_invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    first = error.errors[0]
    place = ".".join(str(part) for part in first.get("loc", ()) if part != "body")
    return problem(ChatError(ErrorCode.INVALID, f"{place}: {first.get('msg', 'invalid')}"))


@api.exception_handler(Http404)
def _on_missing(request: HttpRequest, error: Http404) -> HttpResponse:
    return problem(ChatError(ErrorCode.NOT_FOUND, "There is no such thing here."))


@api.exception_handler(HttpError)
def _on_http_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    if isinstance(error.__cause__, ChatError):
        return problem(error.__cause__)
    code = CODES_BY_STATUS.get(error.status_code, ErrorCode.INTERNAL)
    return problem(ChatError(code, str(error)))


@api.exception_handler(RequestDataTooBig)
def _on_too_large(request: HttpRequest, error: RequestDataTooBig) -> HttpResponse:
    return problem(ChatError(ErrorCode.TOO_LARGE, "The body of the request is too large."))


@api.exception_handler(OperationalError)
@api.exception_handler(InterfaceError)
def _on_database_away(request: HttpRequest, error: Exception) -> HttpResponse:
    logger.warning("%s %s met no database: %s", request.method, _route(request), error)
    return problem(ChatError(ErrorCode.UNAVAILABLE, "The database cannot answer now; try again.", retry_after=1))


@api.exception_handler(Exception)
def _on_fault(request: HttpRequest, error: Exception) -> HttpResponse:
    logger.exception("%s %s failed.", request.method, _route(request))
    return problem(ChatError(ErrorCode.INTERNAL, "The server made a mistake; it has been logged."))


def _route(request: HttpRequest) -> str:
    """The call without what stands in its path: a name is nothing for the log."""
    return "?" if request.resolver_match is None else request.resolver_match.route

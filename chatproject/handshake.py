"""Who opens a WebSocket: a browser with its session cookie and an allowed Origin, or a program with a token."""

import asyncio
import logging
from collections.abc import Sequence
from math import ceil
from typing import Any

from asgiref.typing import ASGIReceiveCallable, ASGISendCallable
from channels.auth import get_user
from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.db import InterfaceError, OperationalError
from django.http.cookie import parse_cookie
from django.http.request import split_domain_port, validate_host
from django.utils.module_loading import import_string

from accounts.auth import claims_of, require_valid
from accounts.errors import ChatError, ErrorCode
from accounts.known import known_people
from accounts.limits import is_trusted, require_address
from accounts.models import User
from messaging.batch_loader import BatchLoader
from messaging.database import in_database
from messaging.protocol import CloseCode

logger = logging.getLogger(__name__)

Scope = dict[str, Any]


# Channels' own brings everybody through one thread, and while Redis hangs each stays there for a second or two.
read_user = in_database(get_user.func)


class Handshake:
    """Set `scope["user"]` to the person (None: nobody, or a void token), `scope["refusal"]` to the `ChatError` that
    says why there is none, `scope["session_key"]` (None with a token), and `scope["expires"]`, when a token does, in
    seconds since 1970. Refuse a cookie's handshake from a foreign page with HTTP 403, and too many of one address with
    429 or 403.

    A browser sends cookies with whatever page opens the socket (cross-site WebSocket hijacking, CWE-1385), so a
    cookie needs an Origin: one of `allowed_origins`, or the very host that the request names. A token is never sent
    by itself, so with a token the Origin does not matter.
    """

    def __init__(self, inner: Any, *, allowed_origins: Sequence[str]) -> None:
        self.inner = inner
        self.allowed_origins = frozenset(allowed_origins)
        # Of those who come with a token; many may come back at once. Sockets of one person that come together get the
        # same object, which nobody changes.
        self._people: BatchLoader[int, User] = BatchLoader(known_people.get_many)

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        address = scope["client"][0]
        # Without a trip to a thread for those who are free of it, such as a load test.
        if not is_trusted(address) and (problem := await asyncio.to_thread(_too_many, address)) is not None:
            logger.info("A handshake was refused: %s", problem)
            await _refuse(scope, send, problem)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        token = _bearer_token(headers)
        if token is None and not self._is_allowed_origin(headers):
            logger.info("A handshake from the origin %.100r was refused.", headers.get(b"origin"))
            await send({"type": "websocket.close", "code": 4001, "reason": None})
            return
        # Channels' own middleware would look at the session again with each frame that is sent.
        session = _session_of(scope) if token is None else None
        expires = None
        try:
            if token is not None:
                claims = claims_of(token)
                user = require_valid(claims, await self._people.get(claims.user_id))
                expires = claims.expires
            else:
                user = await read_user({**scope, "session": session})
        except ChatError as error:
            user, scope = None, {**scope, "refusal": error}
        except (OperationalError, InterfaceError) as error:
            logger.warning("A handshake met no database: %s", error)
            away = ChatError(ErrorCode.UNAVAILABLE, "The database cannot answer now; try again.")
            user, scope = None, {**scope, "refusal": away}
        person = user if user is not None and user.is_authenticated else None
        session_key = None if session is None else session.session_key
        await self.inner({**scope, "user": person, "session_key": session_key, "expires": expires}, receive, send)

    def _is_allowed_origin(self, headers: dict[bytes, bytes]) -> bool:
        """Compared as a whole: nothing is read out of what a client sends."""
        origin = headers.get(b"origin", b"").decode("latin-1").lower()
        host = headers.get(b"host", b"").decode("latin-1").lower()
        return origin in self.allowed_origins or (_is_own_host(host) and origin in _origins_of(host))


def _is_own_host(host: str) -> bool:
    """As Django does for pages: who makes a name of their own lead here (DNS rebinding) has no page of ours."""
    return validate_host(split_domain_port(host)[0], settings.ALLOWED_HOSTS)


def _origins_of(host: str) -> list[str]:
    return [f"https://{host}"] if settings.SECURE else [f"https://{host}", f"http://{host}"]


def _too_many(address: str) -> ChatError | None:
    """Why there may be no further handshake of an address now; None when there may be."""
    try:
        require_address("handshakes", address)
    except ChatError as problem:
        return problem
    return None


async def _refuse(scope: Scope, send: ASGISendCallable, problem: ChatError) -> None:
    """With HTTP 429 where the server can, else with 403."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": int(CloseCode.TOO_MANY), "reason": None})
        return
    headers = [(b"retry-after", str(ceil(problem.retry_after or 1)).encode()), (b"content-type", b"text/plain")]
    status = problem.code.http_status
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": problem.detail.encode(), "more_body": False})


def _session_of(scope: Scope) -> SessionBase:
    """Not read yet; an empty one where there is no cookie. HTTP/2 may part cookies into several headers."""
    header = b"; ".join(value for name, value in scope["headers"] if name == b"cookie")
    cookies = parse_cookie(header.decode("latin-1"))
    store: type[SessionBase] = import_string(f"{settings.SESSION_ENGINE}.SessionStore")
    return store(cookies.get(settings.SESSION_COOKIE_NAME))


def _bearer_token(headers: dict[bytes, bytes]) -> str | None:
    scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None

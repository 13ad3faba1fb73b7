"""Who calls: a browser with its cookies and the CSRF token, or a program with its token."""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.cookiejar import CookieJar
from typing import Any, Self
from uuid import uuid4

PASSWORD = "correct horse battery"


class Browser:
    """Cookies know no ports: one browser uses all web processes of a machine with the same session."""

    def __init__(self, *, token: str = "") -> None:
        # Sent in place of cookies, when there is one.
        self._token = token
        self._cookies = CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self._cookies))
        self.user = ""
        self.status = 0

    def sign_up(self, url: str) -> Self:
        """As somebody new."""
        self.user = f"b{uuid4().hex[:8]}"
        self.call(url, "POST", "/users", {"id": self.user, "password": PASSWORD})
        assert self.status == 201
        return self

    def sign_in(self, url: str, user: str, *, password: str = PASSWORD) -> Self:
        self.user = user
        self.call(url, "POST", "/session", {"id": user, "password": password})
        assert self.status == 200
        return self

    def call(self, url: str, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """A REST call; returns the answer's JSON, also of a refusal (see `status`)."""
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        elif method != "GET":
            headers["X-CSRFToken"] = self.call(url, "GET", "/session")["csrf_token"]
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{url}/api/v1{path}", method=method, headers=headers, data=data)
        try:
            with self._opener.open(request, timeout=20) as response:
                self.status, answer = response.status, response.read()
        except urllib.error.HTTPError as refusal:
            self.status, answer = refusal.code, refusal.read()
        return json.loads(answer) if answer else None

    async def acall(self, url: str, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return await asyncio.to_thread(self.call, url, method, path, body)

    def socket_headers(self, url: str) -> dict[str, str]:
        """What a browser sends with a WebSocket's handshake."""
        return {"Cookie": "; ".join(f"{cookie.name}={cookie.value}" for cookie in self._cookies), "Origin": url}

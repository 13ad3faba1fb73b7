"""The history of a room over REST."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from chatclient.errors import Lost, Refused

PATIENCE = 10.0  # seconds for one server's answer


async def read_history(bases: Sequence[str], token: str, room: int, query: Mapping[str, str | int]) -> dict[str, Any]:
    """A page of the first server that answers. Raises `Refused`, `Lost`."""
    return await asyncio.to_thread(_read, bases, token, f"/api/v1/rooms/{room}/messages?{urlencode(query)}")


def _read(bases: Sequence[str], token: str, path: str) -> dict[str, Any]:
    for base in bases:
        request = Request(base.rstrip("/") + path, headers={"Authorization": f"Bearer {token}"})  # noqa: S310 (http)
        try:
            with urlopen(request, timeout=PATIENCE) as response:  # noqa: S310 (the connection has checked the scheme)
                page: dict[str, Any] = json.load(response)
                return page
        except HTTPError as error:
            with error:
                problem = error.read()
            if error.code < 500:
                raise Refused(_problem(problem)) from None
        except OSError:
            continue
    raise Lost("No server answers.")


def _problem(body: bytes) -> dict[str, Any]:
    """The problem document, or nothing where a proxy answered in the server's place."""
    try:
        problem = json.loads(body)
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}

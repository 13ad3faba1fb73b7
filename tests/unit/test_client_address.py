"""Whose address counts, whatever the headers say."""

from ipaddress import ip_network
from typing import Any

import pytest

from chatproject.client_address import ClientAddress, client_address

PROXIES = [ip_network("10.0.0.0/8"), ip_network("2001:db8:ffff::/48")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        # Nobody but a trusted proxy is believed.
        ("192.0.2.1", ["198.51.100.9"], "192.0.2.1"),
        ("192.0.2.1", ["10.0.0.1", "10.0.0.2"], "192.0.2.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.9"], "198.51.100.9"),
        # What stands before the right-most untrusted address was written by that client.
        ("10.0.0.1", ["203.0.113.5, 198.51.100.9"], "198.51.100.9"),
        ("10.0.0.1", ["127.0.0.1", "198.51.100.9"], "198.51.100.9"),
        ("10.0.0.1", ["198.51.100.9,127.0.0.1 ,  10.0.0.2"], "127.0.0.1"),
        # A chain of trusted proxies.
        ("10.0.0.1", ["203.0.113.5, 198.51.100.9, 10.3.0.1, 10.2.0.1"], "198.51.100.9"),
        ("10.0.0.1", ["198.51.100.9", "10.2.0.1"], "198.51.100.9"),
        ("10.0.0.1", ["10.3.0.1, 10.2.0.1"], "10.3.0.1"),
        # IPv6, in whatever spelling.
        ("2001:db8:ffff::1", ["2001:DB8:0:0::7"], "2001:db8::7"),
        ("2001:db8:ffff::1", ["[2001:db8::7]:52000"], "2001:db8::7"),
        ("::ffff:10.0.0.1", ["::ffff:198.51.100.9"], "198.51.100.9"),
        ("::ffff:192.0.2.1", ["198.51.100.9"], "192.0.2.1"),
        ("fe80::1%eth0", [], "fe80::1"),
        ("10.0.0.1", ["198.51.100.9:4711"], "198.51.100.9"),
        # Garbage.
        ("10.0.0.1", ["198.51.100.9, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.9, , 10.2.0.1"], "10.2.0.1"),
        ("10.0.0.1", ["", ","], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.9\x00"], "10.0.0.1"),
        ("10.0.0.1", ["[", "]:["], "10.0.0.1"),
        ("10.0.0.1", ["1.2.3.4.5, 999.1.1.1"], "10.0.0.1"),
        ("", ["198.51.100.9"], ""),
        ("a pipe", ["198.51.100.9"], "a pipe"),
    ],
)
def test_the_right_most_untrusted_address_counts(peer: str, forwarded: list[str], expected: str) -> None:
    assert client_address(peer, forwarded, trusted_proxies=PROXIES) == expected


def test_without_trusted_proxies_the_header_is_ignored() -> None:
    assert client_address("127.0.0.1", ["198.51.100.9"], trusted_proxies=[]) == "127.0.0.1"


@pytest.mark.parametrize("type", ["http", "websocket"])
@pytest.mark.parametrize(("client", "expected"), [(["10.0.0.1", 4711], ("198.51.100.9", 0)), (None, ("", 0))])
async def test_requests_and_sockets_carry_the_same_address(type: str, client: Any, expected: tuple[str, int]) -> None:
    """From every header of the name; other scopes have none."""
    seen: list[dict[str, Any]] = []

    async def inner(scope: dict[str, Any], receive: Any, send: Any) -> None:
        seen.append(scope)

    wrapped: Any = ClientAddress(inner, trusted_proxies=PROXIES)
    headers = [(b"x-forwarded-for", b"203.0.113.5"), (b"host", b"x"), (b"x-forwarded-for", b"198.51.100.9")]
    await wrapped({"type": type, "client": client, "headers": headers}, None, None)
    await wrapped({"type": "lifespan"}, None, None)
    assert [scope.get("client") for scope in seen] == [expected, None]

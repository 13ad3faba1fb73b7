"""The address that a request or a WebSocket really comes from, also behind a proxy that is trusted to say so."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from asgiref.typing import ASGIReceiveCallable, ASGISendCallable

Network = IPv4Network | IPv6Network


class ClientAddress:
    """ASGI: put the client's address into `scope["client"]`, from where Django takes `REMOTE_ADDR`. The server in front
    must not have done so by itself (`uvicorn --no-proxy-headers`), since it would trust others than these."""

    def __init__(self, inner: Any, *, trusted_proxies: Sequence[Network]) -> None:
        self.inner = inner
        self.trusted_proxies = trusted_proxies

    async def __call__(self, scope: dict[str, Any], receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] in {"http", "websocket"}:
            peer, port = scope.get("client") or ("", 0)
            forwarded = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
            address = client_address(peer, forwarded, trusted_proxies=self.trusted_proxies)
            scope = {**scope, "client": (address, port if address == peer else 0)}
        await self.inner(scope, receive, send)


def client_address(peer: str, forwarded: Iterable[str], *, trusted_proxies: Sequence[Network]) -> str:
    """Who stands behind `peer`, given the values of all X-Forwarded-For headers.

    Each proxy appends whom it was called by, so the list is read from its end for as long as the one who wrote an entry
    is trusted; what stands before that was written by anybody. An entry that is no address ends it too.
    """
    address = _plain(peer) or peer
    entries = [entry for value in forwarded for entry in value.split(",")]
    for entry in reversed(entries):
        if not _is_in(address, trusted_proxies):
            break
        before = _plain(_without_port(entry.strip()))
        if before is None:
            break
        address = before
    return address


def _is_in(address: str, networks: Sequence[Network]) -> bool:
    if _plain(address) is None:
        return False
    ip = ip_address(address)
    return any(ip in network for network in networks)


def _plain(text: str) -> str | None:
    """One spelling for each address, without a zone, IPv4 also where it came in IPv6's clothes; None for none."""
    try:
        ip = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    return str(mapped or ip)


def _without_port(entry: str) -> str:
    """`[2001:db8::1]:443` and `192.0.2.1:443`, as some proxies write them."""
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry

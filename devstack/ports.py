"""TCP ports of the loopback address."""

from collections.abc import Sequence
from secrets import SystemRandom
from socket import SO_REUSEADDR, SOL_SOCKET, socket

from devstack.errors import StackError

# Below the ports that kernels give to outgoing connections: one of those could stand in the way at a later start.
CANDIDATES = range(20_000, 32_000)


def is_free(port: int) -> bool:
    """Whether a server may listen here now."""
    with socket() as probe:
        # As servers do it: an address that only waits for late packets is free.
        probe.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def choose_ports(names: Sequence[str]) -> dict[str, int]:
    """A free port for each name. At random, so that two data folders made at once hardly meet."""
    free = (port for port in SystemRandom().sample(CANDIDATES, len(CANDIDATES)) if is_free(port))
    ports = dict(zip(names, free, strict=False))
    if len(ports) < len(names):
        raise StackError(f"Too few free ports from {CANDIDATES.start} to {CANDIDATES.stop}. End what listens there.")
    return ports

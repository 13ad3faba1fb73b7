"""Processes that end when their parent does, also when it was killed with -9 (Linux; elsewhere nothing happens).

`python -m devstack.tied COMMAND …` becomes the command.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)


def die_with_parent(number: signal.Signals) -> None:
    """Get this signal when the parent ends. It holds across exec."""
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "prctl"):
        libc.prctl(PR_SET_PDEATHSIG, int(number))


def tied(*command: str) -> list[str]:
    """The command line that runs `command` as a process that ends in order when its parent does."""
    return [sys.executable, "-m", "devstack.tied", *command]


if __name__ == "__main__":
    die_with_parent(signal.SIGTERM)
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 (that is what it is for)

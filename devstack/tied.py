"""Processes that end when their parent does, also when it was killed with -9 (Linux; elsewhere nothing happens).

As a script, `tied.py SIGNAL COMMAND …`, it becomes the command.
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


def tied(*command: str, number: signal.Signals) -> list[str]:
    """The command line that runs `command` as a process that gets the signal when its parent ends."""
    return [sys.executable, "-P", __file__, number.name, *command]


if __name__ == "__main__":
    die_with_parent(signal.Signals[sys.argv[1]])
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 (that is what it is for)

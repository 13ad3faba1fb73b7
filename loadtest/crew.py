"""The worker processes of a run, started anew (not forked), and what they tell."""

import signal
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from time import monotonic

from loadtest.outcome import Outcome
from loadtest.progress import Progress
from loadtest.worker import Share, run_share

START = 0.3  # seconds from the last worker's being ready to the plan's zero
GOODBYE = 5.0  # seconds for a worker to end by itself


class WorkerFailed(Exception):
    """A worker ended without an outcome; the message is its traceback."""


class Crew:
    """Made by `hire`. What a worker tells comes by `listen`."""

    def __init__(self, links: Sequence[Connection]) -> None:
        self._links = list(links)
        self.outcomes: list[Outcome] = []

    def begin(self) -> float:
        """Wait until all are ready, and begin; return the plan's zero on the clock of `time.monotonic`."""
        for link in self._links:
            _receive(link)
        zero = monotonic() + START
        for link in self._links:
            link.send(zero)
        return zero

    @property
    def is_done(self) -> bool:
        return not self._links

    def listen(self, timeout: float) -> Iterator[Progress]:
        """What is told within so many seconds, or at once."""
        ready = wait(self._links, timeout)
        for link in [link for link in self._links if link in ready]:
            said = _receive(link)
            if isinstance(said, Progress):
                yield said
            elif isinstance(said, Outcome):
                self.outcomes.append(said)
                self._links.remove(link)


@contextmanager
def hire(shares: Sequence[Share]) -> Iterator[Crew]:
    """A process for each share; none of them outlives the block."""
    context = get_context("spawn")
    processes: list[SpawnProcess] = []
    links: list[Connection] = []
    try:
        for share in shares:
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(share, theirs), name=f"loadtest-{share.worker}", daemon=True)
            process.start()
            theirs.close()
            processes.append(process)
            links.append(ours)
        crew = Crew(links)
        yield crew
        for process in processes:
            process.join(GOODBYE)
    finally:
        for process in processes:
            process.terminate()
            process.join()
        for link in links:
            link.close()


def _receive(link: Connection) -> object:
    try:
        said: object = link.recv()
    except EOFError:
        raise WorkerFailed("A worker was killed.") from None
    if isinstance(said, str):
        raise WorkerFailed(said)
    return said


def _work(share: Share, link: Connection) -> None:
    """The main function of a worker's process."""
    # Ctrl-C reaches all processes of the terminal; the parent ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        link.send(None)
        link.send(run_share(share, link.recv(), link.send))
    except BrokenPipeError:
        pass  # The parent is gone.
    except Exception:
        link.send(traceback.format_exc())

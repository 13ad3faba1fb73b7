"""The largest number of users with whom a run is without fault: by steps until it is between two, then by bisection."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from statistics import median

GROWTH = 1.5  # from one step to the next
FINE_GROWTH = 1.1  # the same where a search has come to a number already
PRECISION = 0.05  # of the result; no finer steps are tried


class Result(Enum):
    PASSED = "passed"
    FAILED = "failed"
    # The generator was too busy to judge, so nothing is known of the server.
    WEAK = "generator too busy"


@dataclass(frozen=True)
class Trial:
    """One run: how many users, what came of it, the p99 of the delivery in milliseconds, and why it failed."""

    users: int
    result: Result
    p99: float
    reasons: list[str]


@dataclass
class Search:
    """All that was tried. `found`: the largest number of each repetition, 0 when none passed."""

    trials: list[Trial] = field(default_factory=list)
    found: list[int] = field(default_factory=list)
    # In some repetition the next larger number was not the server's failure: it might do more than was found.
    is_bounded_by_generator: bool = False

    @property
    def median(self) -> int:
        return int(median(self.found)) if self.found else 0

    @property
    def spread(self) -> tuple[int, int]:
        return min(self.found, default=0), max(self.found, default=0)

    def __str__(self) -> str:
        low, high = self.spread
        at_least = "at least " if self.is_bounded_by_generator else ""
        return f"{at_least}{self.median} users (median of {len(self.found)}, {low} to {high})"


def find_max(attempt: Callable[[int], Trial], *, start: int, repeat: int) -> Search:
    """`attempt` makes a run with so many users. Each repetition after the first starts where the one before came to."""
    search, growth = Search(), GROWTH
    for _ in range(repeat):
        search.found.append(_find_once(attempt, search, start, growth))
        start, growth = max(1, search.found[-1]), FINE_GROWTH
    return search


def _find_once(attempt: Callable[[int], Trial], search: Search, start: int, growth: float) -> int:
    """The largest number that has passed; 0 when not even one user can be served."""
    passed, failed, users = 0, 0, start
    failure = Result.FAILED
    while not failed or failed - passed > max(1, PRECISION * passed):
        trial = attempt(users)
        search.trials.append(trial)
        if trial.result is Result.WEAK:
            # It says nothing of the server, and something else may have kept the machine busy: once more.
            trial = attempt(users)
            search.trials.append(trial)
        if trial.result is Result.PASSED:
            passed = users
        else:
            failed, failure = users, trial.result
        if passed and failed:
            users = (passed + failed) // 2
        elif failed:
            users = int(failed / growth)
        else:
            users = max(users + 1, round(users * growth))
    search.is_bounded_by_generator |= failure is Result.WEAK
    return passed

"""Put load on a running chat and check every receipt; the exit status is 1 when something was lost, came twice, out of
order or not from this run, was not acknowledged, or failed, when a limit was passed, and when this generator was too
busy to judge.

Without --url the chat of `make run` is found by itself. Accounts and rooms are made in the database that the settings
name, which must be the chat's own. docs/load.md says what is measured and how.
"""

import urllib.request
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path
from secrets import token_hex
from shutil import get_terminal_size
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from accounts.errors import ChatError
from chatproject.loadtest_seats import prepare_seats
from chatproject.loadtest_server import find_metrics, find_processes
from devstack.urls import read_urls
from loadtest import Limits, Plan, Run, Sampler, faults, run_plan, violations, weaknesses
from loadtest.conditions import read_conditions
from loadtest.crew import WorkerFailed
from loadtest.options import add_options, read_limits, read_plan
from loadtest.report.console import progress_line, render
from loadtest.report.document import Document
from loadtest.report.files import write_report
from loadtest.search import Result, Search, Trial, find_max
from loadtest.timeline import Second

# Whose versions a report names.
PACKAGES = ("daphne", "uvicorn", "granian", "uvloop", "websockets", "django", "channels", "confluent-kafka", "orjson")
JOINING = 50  # users a second that join at most while the largest number is looked for
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
MOST_P99 = 500.0  # milliseconds, with --find-max and no --max-p99


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_options(parser)
        parser.add_argument("--url", action="append", help="base URL of a web process; repeat it for several")
        parser.add_argument("--workers", type=int, help="processes of the generator (default: the cores but one)")
        parser.add_argument(
            "--report", type=Path, metavar="DIR", help="write report.json, report.md and report.html there"
        )
        parser.add_argument(
            "--metrics", action="append", metavar="URL", help="/metrics of a process of the chat; repeat it for several"
        )
        parser.add_argument(
            "--find-max", action="store_true",
            help=f"look for the largest number of users, from --users on, with a p99 of {MOST_P99:g} ms or --max-p99",
        )  # fmt: skip
        parser.add_argument("--repeat", type=int, default=3, help="how often that is looked for (default: 3)")
        parser.add_argument("--at-least", type=int, default=0, help="users that --find-max must find (the median)")

    def handle(self, *args: Any, **options: Any) -> None:
        self._urls: list[str] = options["url"] or read_urls(settings.DATA_DIR) or ["http://127.0.0.1:8000"]
        _require_ready(self._urls)
        self._workers: int | None = options["workers"]
        # Another machine's processes cannot be watched, and this one's say nothing of it.
        self._is_here = all(urlsplit(url).hostname in LOOPBACK for url in self._urls)
        self._metrics: list[str] = options["metrics"] or (find_metrics(settings.BASE_DIR) if self._is_here else [])
        self._folder: Path | None = options["report"]
        self._limits = read_limits(options)
        self._conditions = read_conditions(self._urls, PACKAGES)
        try:
            plan = read_plan(options, run=token_hex(3))
        except ValueError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"Load on {', '.join(self._urls)}")
        if options["find_max"]:
            self._find_max(plan, repeat=options["repeat"], at_least=options["at_least"])
        else:
            self._run_once(plan)

    def _run_once(self, plan: Plan) -> None:
        run = self._run(plan)
        self.stdout.write("\n" + render(run))
        self._report(run)
        found = [*violations(plan, run.outcome, self._limits), *weaknesses(run.outcome, self._limits)]
        if found:
            raise CommandError("\n".join(found))
        self.stdout.write("Every message reached everybody once and in order.")

    def _find_max(self, plan: Plan, *, repeat: int, at_least: int) -> None:
        if self._limits.p99 is None:
            self._limits = replace(self._limits, p99=MOST_P99)
        # The run of the largest number that has passed; the last one while none has.
        shown: Run | None = None
        most = 0

        def attempt(users: int) -> Trial:
            nonlocal shown, most
            run = self._run(_with_users(plan, users))
            trial = _judge(run, self._limits)
            self.stdout.write(
                f"\n{users} users: {trial.result.value}, p99 {trial.p99:.0f} ms {' '.join(trial.reasons)}"
            )
            if trial.result is Result.PASSED and users >= most:
                shown, most = run, users
            elif not most:
                shown = run
            return trial

        search = find_max(attempt, start=plan.users, repeat=repeat)
        if shown is not None:
            self.stdout.write("\n" + render(shown))
            self._report(shown, search)
        self.stdout.write(f"The largest number with a p99 of {self._limits.p99:g} ms and without fault: {search}.")
        if search.is_bounded_by_generator:
            raise CommandError("The generator is the limit; give it more cores, or another machine.")
        if search.median < max(1, at_least):
            raise CommandError(f"{max(1, at_least)} users were to be served.")

    def _run(self, plan: Plan) -> Run:
        try:
            seats = prepare_seats(plan)
            processes = find_processes(settings.BASE_DIR, settings.DATA_DIR) if self._is_here else {}
            sampler = Sampler(processes, self._metrics)
            return run_plan(plan, seats, self._urls, workers=self._workers, show=self._show, sampler=sampler)
        except (ChatError, WorkerFailed) as error:
            raise CommandError(str(error)) from None

    def _report(self, run: Run, search: Search | None = None) -> None:
        if self._folder is not None:
            write_report(self._folder, Document.of(run, self._limits, self._conditions, search))
            self.stdout.write(f"The report is in {self._folder}.")

    def _show(self, phase: str, second: Second) -> None:
        """One line that is written over on a terminal, and one line each elsewhere."""
        line = progress_line(phase, second)
        width = get_terminal_size().columns - 1
        self.stdout.write(f"\r{line[:width]:<{width}}" if self.stdout.isatty() else line, ending="")
        if not self.stdout.isatty():
            self.stdout.write("")
        self.stdout.flush()


def _with_users(plan: Plan, users: int) -> Plan:
    """The same load with so many users, as a run of its own."""
    rooms = min(plan.rooms, users)
    return replace(
        plan, users=users, rooms=rooms, memberships=min(plan.memberships, rooms),
        ramp=max(plan.ramp, users / JOINING), run=token_hex(3),
    )  # fmt: skip


def _judge(run: Run, limits: Limits) -> Trial:
    """A generator that is too busy proves nothing but faults. Without them the server may be worse than it seems (who
    reads late is shown more in fewer frames, which is less work) or better."""
    found, weak = violations(run.plan, run.outcome, limits), weaknesses(run.outcome, limits)
    if faults(run.outcome, limits):
        result = Result.FAILED
    elif weak:
        result = Result.WEAK
    else:
        result = Result.FAILED if found else Result.PASSED
    return Trial(run.plan.users, result, run.outcome.delivery.at(99) * 1000, [*weak, *found])


def _require_ready(urls: list[str]) -> None:
    for url in urls:
        try:
            with urllib.request.urlopen(f"{url.rstrip('/')}/health/ready", timeout=5):  # noqa: S310 (a person's own)
                pass
        except (OSError, ValueError) as error:
            advice = "Start one with make run, or name it with --url."
            raise CommandError(f"No chat is ready at {url} ({error}). {advice}") from None

"""Put load on a running chat and check every receipt; the exit status is 1 when something was lost, came twice, out of
order or not from this run, was not acknowledged, or failed, when a limit was passed, and when this generator was too
busy to judge.

Without --url the chat of `make run` is found by itself. Accounts and rooms are made in the database that the settings
name, which must be the chat's own.
"""

import urllib.request
from argparse import ArgumentParser
from secrets import token_hex
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from accounts.errors import ChatError
from chatproject.loadtest_seats import prepare_seats
from devstack.urls import read_urls
from loadtest import Plan, Run, Sampler, run_plan, violations, weaknesses
from loadtest.crew import WorkerFailed
from loadtest.options import add_options, read_limits, read_plan
from loadtest.report.console import progress_line, render
from loadtest.timeline import Second


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_options(parser)
        parser.add_argument("--url", action="append", help="base URL of a web process; repeat it for several")
        parser.add_argument("--workers", type=int, help="processes of the generator (default: the cores but one)")

    def handle(self, *args: Any, **options: Any) -> None:
        urls = options["url"] or read_urls(settings.DATA_DIR) or ["http://127.0.0.1:8000"]
        _require_ready(urls)
        limits = read_limits(options)
        try:
            plan = read_plan(options, run=token_hex(3))
        except ValueError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"Load on {', '.join(urls)}")
        run = self._run(plan, urls, options["workers"])
        self.stdout.write("\n" + render(run))
        found = [*violations(plan, run.outcome, limits), *weaknesses(run.outcome, limits)]
        if found:
            raise CommandError("\n".join(found))
        self.stdout.write("Every message reached everybody once and in order.")

    def _run(self, plan: Plan, urls: list[str], workers: int | None) -> Run:
        try:
            seats = prepare_seats(plan)
            return run_plan(plan, seats, urls, workers=workers, show=self._show, sampler=Sampler({}, []))
        except (ChatError, WorkerFailed) as error:
            raise CommandError(str(error)) from None

    def _show(self, phase: str, second: Second) -> None:
        """One line that is written over on a terminal, and one line each elsewhere."""
        line = progress_line(phase, second)
        self.stdout.write(f"\r{line:<130}" if self.stdout.isatty() else line, ending="")
        if not self.stdout.isatty():
            self.stdout.write("")
        self.stdout.flush()


def _require_ready(urls: list[str]) -> None:
    for url in urls:
        try:
            with urllib.request.urlopen(f"{url.rstrip('/')}/health/ready", timeout=5):  # noqa: S310 (a person's own)
                pass
        except (OSError, ValueError) as error:
            advice = "Start one with make run, or name it with --url."
            raise CommandError(f"No chat is ready at {url} ({error}). {advice}") from None

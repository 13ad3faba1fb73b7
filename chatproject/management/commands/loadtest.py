"""Put load on a running chat and check every receipt; the exit status is 1 when something was lost, came twice, out of
order or not from this run, was not acknowledged, or failed.

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
from loadtest import PROFILES, Outcome, Plan, render, run_plan, violations

DEFAULTS: dict[str, Any] = {"users": 10, "rooms": 1, "ramp": 2, "seconds": 10, "rate": 1, "length": 50}


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--profile", choices=sorted(PROFILES), help="a known load; other options change it")
        parser.add_argument("--users", type=int)
        parser.add_argument("--rooms", type=int, help="the users are dealt out to so many")
        parser.add_argument("--seconds", type=float, help="in which all talk")
        parser.add_argument("--ramp", type=float, help="seconds in which the users join one after the other")
        parser.add_argument("--rate", type=float, help="messages a second and user")
        parser.add_argument("--length", type=int, help="characters of a message")
        parser.add_argument("--url", action="append", help="base URL of a web process; repeat it for several")

    def handle(self, *args: Any, **options: Any) -> None:
        values: dict[str, Any] = {**DEFAULTS, **PROFILES.get(options["profile"], {})}
        values |= {name: options[name] for name in DEFAULTS if options[name] is not None}
        urls = options["url"] or read_urls(settings.DATA_DIR) or ["http://127.0.0.1:8000"]
        _require_ready(urls)
        try:
            plan = Plan(run=token_hex(3), **values)
            seats = prepare_seats(plan)
        except (ValueError, ChatError) as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"Load on {', '.join(urls)}")
        outcome = run_plan(plan, seats, urls, show=lambda time, outcome: self._show(plan, time, outcome))
        self.stdout.write("\n" + render(plan, outcome))
        found = violations(plan, outcome)
        if found:
            raise CommandError("\n".join(found))
        self.stdout.write("Every message reached everybody once and in order.")

    def _show(self, plan: Plan, time: float, outcome: Outcome) -> None:
        """One line that is written over on a terminal, and one line each elsewhere."""
        phase = "ramp" if time < plan.steady_from else "steady" if time < plan.end else "drain"
        line = (
            f"{time:5.0f} s {phase:<7} joined {outcome.joined}, sent {outcome.sent}, acknowledged "
            f"{outcome.acknowledged}, received {outcome.received}, errors {outcome.errors.total()}"
        )
        self.stdout.write(f"\r{line:<110}" if self.stdout.isatty() else line, ending="")
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

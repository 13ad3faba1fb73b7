"""Make accounts for programs (bots, load tests) and write their tokens to a file, a line `name token` each."""

import os
import stat
from argparse import ArgumentParser
from itertools import chain
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.errors import ChatError
from accounts.services import register_programs
from accounts.tokens import DEFAULT_DAYS, issue_token

# People in one transaction.
BATCH = 500


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--prefix", default="bot", help="names are PREFIX1, PREFIX2, …")
        parser.add_argument("--count", type=int, required=True)
        parser.add_argument("--tokens-file", type=Path, required=True, help="made readable for you alone")
        parser.add_argument("--days", type=int, default=DEFAULT_DAYS, help="how long the tokens are valid")

    def handle(self, *args: Any, **options: Any) -> None:
        names = [f"{options['prefix']}{number}" for number in range(1, options["count"] + 1)]
        try:
            batches = [register_programs(usernames=names[n : n + BATCH]) for n in range(0, len(names), BATCH)]
        except ChatError as error:
            raise CommandError(error.detail) from None
        descriptor = os.open(options["tokens_file"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            # A file that was there before keeps its mode otherwise; and /dev/null must keep its.
            os.fchmod(descriptor, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            for user in chain.from_iterable(batches):
                file.write(f"{user.username} {issue_token(user, days=options['days'])[0]}\n")
        self.stdout.write(f"{len(names)} accounts; their tokens are in {options['tokens_file']}.")

"""Write everything that is stored about a person to a file, as `GET /api/v1/me/data` answers it."""

import os
import stat
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.models import User
from messaging.personal_data import personal_data


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="the user id")
        parser.add_argument("--to", type=Path, required=True, help="made readable for you alone")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.find(options["name"])
        if user is None:
            raise CommandError("There is no such person.")
        descriptor = os.open(options["to"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            # A file that was there before keeps its mode otherwise.
            os.fchmod(descriptor, 0o600)
        with open(descriptor, "wb") as file:
            file.writelines(personal_data(user))
        self.stdout.write(f"What is stored about {user.username} is in {options['to']}.")

"""Run the embedded services until Ctrl-C, and print where they are."""

import os
import signal
from typing import Any

from django.core.management.base import BaseCommand

VARIABLES = ("DATABASE_URL", "REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS", "SECRET_KEY")


class Command(BaseCommand):
    help = __doc__
    # The services may be empty still.
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        """`manage.py` has started the services and keeps them until this command ends."""
        ending = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
        signal.pthread_sigmask(signal.SIG_BLOCK, ending)
        for variable in VARIABLES:
            self.stdout.write(f"export {variable}='{os.environ[variable]}'")
        self.stdout.write("# The services run until Ctrl-C.")
        self.stdout.flush()
        signal.sigwait(ending)

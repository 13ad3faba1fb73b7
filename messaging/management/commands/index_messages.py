"""Make messages findable that were stored before there was a search. May run while people talk, be interrupted and be
called again: what is indexed is left alone."""

from typing import Any

from django.core.management.base import BaseCommand

from messaging.storage import index_stored


class Command(BaseCommand):
    help = __doc__

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"{index_stored()} messages were indexed.")

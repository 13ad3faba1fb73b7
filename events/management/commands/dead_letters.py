"""Look at the records that could not be handled, and replay or drop them."""

import getpass
from datetime import datetime
from typing import Any

from confluent_kafka import KafkaException
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from events.errors import LetterDecided, NoSuchLetter
from events.letter_box import DeadLetter, LetterBox


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        listing = actions.add_parser("list", help="the newest open letters, newest first")
        listing.add_argument("--all", action="store_true", help="also those that were replayed or dropped")
        listing.add_argument("--limit", type=int, default=100)
        show = actions.add_parser("show", help="one letter whole: it may hold what a person wrote")
        show.add_argument("number", type=int)
        for name, what in (
            ("replay", "put the records on their topics again, behind what is there"),
            ("drop", "decide that nothing is to be done"),
        ):
            deciding = actions.add_parser(name, help=what)
            deciding.add_argument("numbers", type=int, nargs="+")
            deciding.add_argument("--by", default=getpass.getuser(), help="who decides; default: the system's user")

    def handle(self, *args: Any, **options: Any) -> None:
        box = LetterBox(settings.KAFKA_BOOTSTRAP_SERVERS)
        try:
            match options["action"]:
                case "list":
                    self._list(box.newest(options["limit"], decided=options["all"]))
                case "show":
                    self._show(box.find(options["number"]))
                case "replay":
                    for number in options["numbers"]:
                        self.stdout.write(f"{box.replay(number, by=options['by'])}")
                case "drop":
                    for number in options["numbers"]:
                        self.stdout.write(f"{box.drop(number, by=options['by'])}")
        except (NoSuchLetter, LetterDecided) as error:
            raise CommandError(str(error)) from error
        except KafkaException as error:
            raise CommandError(f"Kafka at {settings.KAFKA_BOOTSTRAP_SERVERS} does not answer: {error}") from error

    def _list(self, letters: list[DeadLetter]) -> None:
        for letter in letters:
            state = letter.decision.action if letter.decision else "open"
            self.stdout.write(f"{letter.offset:>8}  {_time(letter.time)}  {state:<8}  {letter.origin}  {letter.reason}")
        if not letters:
            self.stdout.write("No dead letters.")

    def _show(self, letter: DeadLetter) -> None:
        decision = letter.decision
        fields = {
            "number": letter.offset,
            "set aside": _time(letter.time),
            "from": letter.origin,
            "reason": letter.reason,
            "state": f"{decision.action} by {decision.by}, {_time(decision.at)}" if decision else "open",
            "key": letter.key_text,
            **{f"header {name}": value.decode(errors="backslashreplace") for name, value in letter.headers.items()},
            "value": letter.text,
        }
        for name, value in fields.items():
            self.stdout.write(f"{name + ':':<12} {value}")


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"

"""A job with an option of every shape, in a module that no import statement could name."""

import json
from argparse import SUPPRESS, Action, ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Sequence
from enum import Enum
from typing import Any

from django.utils.functional import SimpleLazyObject

from jobledger import Concurrency, JobCommand

NAMES = (
    *(
        "version",
        "names",
        "flag",
        "at",
        "set",
        "kinds",
        "maybe",
        "offset",
        "times",
        "cache",
        "colour",
        "lazy",
    ),
    *("computed", "one", "two", "wait", "allow_overlap"),
)


class Colour(Enum):
    RED = "red"
    BLUE = "blue"

    def __str__(self) -> str:
        return self.value


class Collecting(Action):
    """Collects pairs in a dictionary, as authors' actions often do."""

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        name, _, value = str(values).partition(":")
        setattr(namespace, self.dest, {**(getattr(namespace, self.dest) or {}), name: value})


class Command(JobCommand):
    help = "Print the options."
    concurrency = Concurrency.ALLOW

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("version", nargs="?", help="Not that of Django.")
        parser.add_argument("names", nargs="*")
        parser.add_argument("--flag", type=bool)
        parser.add_argument("--at", nargs=2, type=int)
        parser.add_argument("--set", action=Collecting)
        parser.add_argument("--int", dest="kinds", action="append_const", const="int")
        parser.add_argument("--str", dest="kinds", action="append_const", const="str")
        parser.add_argument("--maybe", default=SUPPRESS)
        parser.add_argument("--offset", type=int)
        parser.add_argument("-t", "--times", action="count", default=0)
        parser.add_argument("--cache", action=BooleanOptionalAction)
        parser.add_argument("--colour", type=Colour, choices=Colour)
        parser.add_argument("--lazy", choices=SimpleLazyObject(lambda: ["a", "b"]))
        parser.add_argument("--computed", choices=(each for each in "ab"), metavar="LETTER")
        one_of = parser.add_mutually_exclusive_group()
        one_of.add_argument("--one")
        one_of.add_argument("--two")
        parser.add_argument("--wait", type=float, help="Not the service's option of this name.")
        parser.add_argument("--allow-overlap", action="store_true", help="Not the service's either.")
        parser.add_argument("--app-version", action="version", version="1.0")

    def handle(self, *args: Any, **options: Any) -> None:
        given = {name: options[name] for name in NAMES if options.get(name)}
        self.stdout.write(json.dumps(given, default=str))

"""Builders for parsers."""

from argparse import Action, ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.core.management.base import BaseCommand, CommandParser


@dataclass(frozen=True, kw_only=True)
class Argument:
    """The arguments of ``add_argument``."""

    names: tuple[str, ...]
    settings: dict[str, Any]

    def add_to(self, parser: ArgumentParser) -> None:
        parser.add_argument(*self.names, **self.settings)


class AuthorsAction(Action):
    """An action as a command's author may write it. Does nothing with the values."""

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        self.act(parser, namespace, values)

    def act(self, parser: ArgumentParser, namespace: Namespace, values: str | Sequence[Any] | None) -> None:
        """For subclasses."""


def arg(*names: str, **settings: Any) -> Argument:
    return Argument(names=names, settings=settings)


def a_parser(*arguments: Argument, **settings: Any) -> CommandParser:
    """The parser of a Django command with these arguments and the base options."""
    parser = BaseCommand().create_parser("manage.py", "job", **settings)
    for argument in arguments:
        argument.add_to(parser)
    return parser


def a_plain_parser(*arguments: Argument, **settings: Any) -> ArgumentParser:
    """A plain argparse parser, which prints its errors and exits."""
    parser = ArgumentParser(prog="job", **settings)
    for argument in arguments:
        argument.add_to(parser)
    return parser

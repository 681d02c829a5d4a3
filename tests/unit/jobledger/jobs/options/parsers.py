"""Builders for parsers."""

from argparse import ArgumentParser
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

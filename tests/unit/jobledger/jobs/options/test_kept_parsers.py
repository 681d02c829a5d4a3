"""A command's parser is kept for later runs only if its code makes the same one each time."""

import datetime as dt
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management.base import BaseCommand, CommandParser

from jobledger import JobCommand
from jobledger.jobs.options.kept_parsers import parser_for_run
from tasks_app import parser_types

DAYS = 7


def today() -> dt.date:
    return dt.date(2026, 11, 29)


class Constant(JobCommand):
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("user", type=parser_types.user_id, help="The user.")
        group = parser.add_mutually_exclusive_group(required=True)
        group.add_argument("--days", type=int, default=30)
        group.add_argument("--colour", choices=["red", "blue", "green"], default="red")


class WithoutArguments(BaseCommand):
    pass


class Dated(Constant):
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--date", default=today())


class Listed(Constant):
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--tags", nargs="*", default=[])


class OfModule(Constant):
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--days", default=DAYS)


class OfAttribute(Constant):
    days = 3

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--days", default=self.days)


class OfDateClass(Constant):
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--date", default=dt.date.today())  # noqa: DTZ011


class Imports(Constant):
    def add_arguments(self, parser: ArgumentParser) -> None:
        from time import time

        parser.add_argument("--at", default=time())


class Inherits(Constant):
    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)


class Initialized(Constant):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)


class MakesItself(Constant):
    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, **kwargs)


class WithDefaults(Constant):
    def add_arguments(self, parser: ArgumentParser, day: dt.date = today()) -> None:  # noqa: B008
        parser.add_argument("--date", default=day)


def closed_over(day: dt.date) -> type[BaseCommand]:
    class Closed(JobCommand):
        def add_arguments(self, parser: ArgumentParser) -> None:
            parser.add_argument("--date", default=day)

    return Closed


@pytest.mark.parametrize("command", [Constant, WithoutArguments])
def test_a_parser_that_is_the_same_each_time_is_kept(command: type[BaseCommand]) -> None:
    kept = parser_for_run(command(), "job")
    assert kept is not None
    assert kept is parser_for_run(command(), "job")
    assert kept.format_help() == command().create_parser("", "job").format_help()


@pytest.mark.parametrize(
    "command",
    [
        *(Dated, Listed, OfModule, OfAttribute, OfDateClass, Imports, Inherits, Initialized, MakesItself),
        *(WithDefaults, closed_over(today())),
    ],
)
def test_any_other_is_made_for_each_run(command: type[BaseCommand]) -> None:
    assert parser_for_run(command(), "job") is None


def test_an_instance_with_a_method_of_its_own_makes_its_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    command = Constant()
    add: Callable[[ArgumentParser], object] = lambda parser: parser.add_argument("--more")  # noqa: E731
    monkeypatch.setattr(command, "add_arguments", add)
    assert parser_for_run(command, "job") is None


def test_each_name_of_a_command_has_its_own() -> None:
    first, second = (parser_for_run(Constant(), name) for name in ("first", "second"))
    assert first is not None
    assert second is not None
    assert (first.prog, second.prog) == (" first", " second")

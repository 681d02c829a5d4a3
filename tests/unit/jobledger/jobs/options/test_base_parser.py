"""The arguments that all jobs have are made once: nobody can tell that from a job's parser."""

from argparse import Action, ArgumentParser, HelpFormatter, _ArgumentGroup
from typing import Any, cast

import pytest
from django.core.management.base import BaseCommand, CommandError, CommandParser

from jobledger import JobCommand
from jobledger.jobs.options import base_parser


class Job(JobCommand):
    help = "Does nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=int, default=30, help="How many.")
        parser.add_argument("names", nargs="*")


class WithChecks(Job):
    requires_system_checks = "__all__"
    missing_args_message = "What is missing?"


class WithoutSettings(Job):
    suppressed_base_arguments = {"--settings", "--pythonpath"}  # noqa: RUF012 - as authors do


class WithVersion(Job):
    def get_version(self) -> str:
        return "4.2"


class Short(Job):
    def add_base_argument(self, parser: CommandParser, *args: Any, **kwargs: Any) -> None:
        if "--no-color" not in args:
            super().add_base_argument(parser, *args, **kwargs)


class Named:
    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        parser: CommandParser = super().create_parser(prog_name, subcommand, **kwargs)  # type: ignore[misc]
        parser.epilog = "In the end."
        return parser


class WithMixin(JobCommand, Named, BaseCommand):
    pass


def parser_of(command: type[BaseCommand]) -> CommandParser:
    return command().create_parser("dir/manage.py", "probe")


def made_anew(command: type[BaseCommand]) -> CommandParser:
    """By Django, without a copy, because it is told how to format."""
    return command().create_parser("dir/manage.py", "probe", formatter_class=base_parser.formatter_class())


def description(thing: object) -> object:
    """All that makes up a parser, by value."""
    if isinstance(thing, Action | ArgumentParser | _ArgumentGroup):
        hidden = ("container", "formatter_class")
        return type(thing), {
            name: description(value) for name, value in vars(thing).items() if name not in hidden
        }
    if isinstance(thing, dict):
        return {name: description(value) for name, value in thing.items()}
    if isinstance(thing, list):
        return [description(each) for each in thing]
    return thing.__qualname__ if callable(thing) else thing  # type: ignore[attr-defined]


def changeable(thing: object, found: dict[int, object]) -> dict[int, object]:
    """The objects of a parser that a job may change, by their ids."""
    if isinstance(thing, Action | ArgumentParser | _ArgumentGroup | dict | list) and id(thing) not in found:
        found[id(thing)] = thing
        values = (
            thing if isinstance(thing, list) else (thing if isinstance(thing, dict) else vars(thing)).values()
        )
        for each in values:
            changeable(each, found)
    return found


@pytest.mark.parametrize("command", [JobCommand, Job, WithChecks, WithoutSettings, WithVersion, Short])
def test_a_parser_is_as_django_would_make_it(command: type[BaseCommand]) -> None:
    parser, anew = parser_of(command), made_anew(command)

    assert description(parser) == description(anew)
    assert parser.format_help() == anew.format_help()
    assert all(vars(each)["container"] is parser._optionals for each in parser._optionals._group_actions)


def test_two_parsers_share_nothing_that_a_job_may_change() -> None:
    one, other = (changeable(parser_of(Job), {}) for _ in range(2))

    assert not one.keys() & other.keys()
    assert len(one) > 40


def test_what_a_job_does_to_djangos_arguments_does_not_reach_the_next_parser() -> None:
    class Changing(JobCommand):
        def add_arguments(self, parser: CommandParser) -> None:
            parser.set_defaults(verbosity=3)
            parser.add_argument_group("More").add_argument("--more")
            parser.register("type", "size", len)
            for action in parser._actions:
                action.help = "changed"
                cast("list[str]", action.option_strings).append("--changed")

    before = description(parser_of(Job))
    assert parser_of(Changing).parse_args([]).verbosity == 3

    assert description(parser_of(Job)) == before
    assert parser_of(Job).parse_args([]).verbosity == 1


def test_a_default_is_looked_up_for_each_parser() -> None:
    days = iter((1, 2))

    class Daily(JobCommand):
        def add_arguments(self, parser: CommandParser) -> None:
            parser.add_argument("--day", default=next(days))

    assert [parser_of(Daily).parse_args([]).day for _ in range(2)] == [1, 2]


def test_what_overrides_djangos_methods_is_called() -> None:
    assert "--no-color" not in parser_of(Short).format_help()
    assert parser_of(WithMixin).epilog == "In the end."
    with pytest.raises(CommandError, match="What is missing"):
        parser_of(WithChecks).parse_args([])
    assert {each.version for each in parser_of(WithVersion)._actions if hasattr(each, "version")} == {"4.2"}


def test_a_job_may_format_its_help_itself() -> None:
    parser = Job().create_parser("manage.py", "probe", formatter_class=HelpFormatter)

    assert parser.formatter_class is HelpFormatter


def test_help_is_as_wide_as_the_terminal_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    widths = []
    for columns in ("70", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        widths.append(max(map(len, parser_of(Job).format_help().splitlines())))

    assert widths[0] < 70 < widths[1]

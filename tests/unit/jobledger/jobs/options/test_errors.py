"""Whatever rejects the options, the error names the option concerned."""

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Sequence
from typing import Any

import pytest

from jobledger.jobs.options import OptionsError, validate_options
from jobledger.jobs.options.argparse_internals import exclusive_groups
from jobledger.jobs.options.errors import Problem
from tests.unit.jobledger.jobs.options.parsers import a_parser, arg


def one_of_a_b(text: str) -> str:
    if text not in ("a", "b"):
        raise ArgumentTypeError("neither a nor b, nor --all")
    return text


def a_parser_with_groups() -> ArgumentParser:
    parser = a_parser(
        arg("first", metavar="FIRST"),
        arg("--days", "-d", type=int, required=True),
        arg("--day", choices=["mon", "tue"]),
        arg("--tags", nargs="+", type=int),
        arg("files", nargs="*"),
    )
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--all", action="store_true")
    group.add_argument("--only", type=one_of_a_b)
    return parser


def problems_of(parser: ArgumentParser, options: dict[str, Any]) -> Sequence[Problem]:
    with pytest.raises(OptionsError) as error:
        validate_options(parser, options)
    return error.value.problems


def problems(options: dict[str, Any]) -> Sequence[Problem]:
    return problems_of(a_parser_with_groups(), options)


GOOD = {"first": "x", "days": 1, "all": True}


@pytest.mark.parametrize(
    ("options", "dest", "text"),
    [
        ({"days": "x"}, "days", "argument --days/-d: invalid int value: 'x'"),
        ({"day": "sun"}, "day", "argument --day: invalid choice: 'sun'"),
        ({"tags": ["y"]}, "tags", "argument --tags: invalid int value"),
        ({"days": ["x"]}, "days", "days: expected text or a number"),
        ({"dayz": 1}, "dayz", "dayz: no such option"),
        ({"tags": ["a", "-b"]}, "tags", "tags: 'a' '-b' cannot be written on a command line"),
    ],
)
def test_a_problem_names_the_invalid_option(options: dict[str, Any], dest: str, text: str) -> None:
    (problem,) = problems(GOOD | options)
    assert (problem.dest, problem.group) == (dest, None)
    assert text in problem.text


def test_each_missing_option_is_a_problem_of_its_own() -> None:
    assert problems({"all": True}) == [
        Problem(text="the following arguments are required: FIRST", dest="first"),
        Problem(text="the following arguments are required: --days/-d", dest="days"),
    ]


def test_a_missing_required_group_is_a_problem_of_the_group() -> None:
    parser = a_parser_with_groups()
    (group,) = exclusive_groups(parser)

    assert problems_of(parser, {"first": "x", "days": 1}) == [
        Problem(text="one of the arguments --all --only is required", group=group)
    ]


def test_two_of_an_exclusive_group_are_a_problem_of_the_group() -> None:
    parser = a_parser_with_groups()
    (group,) = exclusive_groups(parser)

    assert problems_of(parser, GOOD | {"only": "a"}) == [
        Problem(text="argument --only: not allowed with argument --all", dest="only", group=group)
    ]


def test_an_invalid_value_in_an_exclusive_group_is_a_problem_of_its_option() -> None:
    (problem,) = problems({"first": "x", "days": 1, "only": "c"})
    assert (problem.dest, problem.group) == ("only", None)


@pytest.mark.parametrize(
    ("message", "dest"), [("--last: no more", "last"), ("last: no more", "last"), ("not today", None)]
)
def test_a_commands_own_message_concerns_the_option_that_it_starts_with(
    message: str, dest: str | None
) -> None:
    parser = a_parser()
    parser.add_argument("--last", type=lambda text: parser.error(message))

    assert [*problems_of(parser, {"last": "x"})] == [Problem(text=message, dest=dest)]


def test_a_missing_option_of_a_subcommand_is_found() -> None:
    parser = a_parser(arg("--days", type=int))
    parser.add_subparsers(dest="cmd").add_parser("fetch").add_argument("--url", required=True)

    assert problems_of(parser, {"cmd": "fetch"}) == [
        Problem(text="the following arguments are required: --url", dest="url")
    ]


def test_a_missing_subcommand_is_found() -> None:
    parser = a_parser()
    parser.add_subparsers(dest="cmd", required=True).add_parser("fetch")

    assert problems_of(parser, {}) == [Problem(text="the following arguments are required: cmd", dest="cmd")]

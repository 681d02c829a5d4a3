from argparse import ArgumentParser
from typing import Any

import pytest

from jobledger.jobs.options import OptionsError, parse
from jobledger.jobs.options.errors import Refusal, of_message
from tests.unit.jobledger.jobs.options.parsers import a_parser, arg


def a_parser_with_groups() -> ArgumentParser:
    parser = a_parser(
        arg("first", metavar="FIRST"),
        arg("--days", "-d", type=int, required=True),
        arg("--day"),
        arg("--tags", nargs="+", type=int),
    )
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--all", action="store_true")
    group.add_argument("--only")
    return parser


def refused(options: dict[str, Any]) -> list[Refusal]:
    parser = a_parser_with_groups()
    with pytest.raises(OptionsError) as error:
        parse(parser, options)
    return of_message([parser], str(error.value))


GOOD = {"first": "x", "days": 1, "all": True}


@pytest.mark.parametrize(
    ("options", "dest", "said"),
    [
        ({"days": "x"}, "days", "argument --days/-d: invalid int value: 'x'"),
        ({"days": ["x"]}, "days", "days: wants text or a number"),
        ({"tags": ["y"]}, "tags", "argument --tags: invalid int value"),
    ],
)
def test_a_refusal_is_about_the_option_it_names(options: dict[str, Any], dest: str, said: str) -> None:
    (refusal,) = refused(GOOD | options)
    assert refusal.dests == (dest,)
    assert said in refusal.text


def test_what_is_missing_is_said_of_each() -> None:
    found = refused({"all": True})
    assert [(refusal.dests, refusal.text) for refusal in found] == [
        (("first",), "the following arguments are required: FIRST"),
        (("days",), "the following arguments are required: --days/-d"),
    ]


def test_one_of_a_group_that_is_wanted_is_said_of_the_group() -> None:
    (refusal,) = refused({"first": "x", "days": 1})
    assert (refusal.text, refusal.dests) == ("one of the arguments --all --only is required", ())
    assert refusal.group is not None


def test_two_of_a_group_are_said_of_the_group() -> None:
    (refusal,) = refused(GOOD | {"only": "a"})
    assert (refusal.text, refusal.dests) == ("argument --only: not allowed with argument --all", ("only",))
    assert refusal.group is not None


def test_a_message_that_names_nothing_is_about_all() -> None:
    assert of_message([a_parser_with_groups()], "not today") == [Refusal(text="not today")]

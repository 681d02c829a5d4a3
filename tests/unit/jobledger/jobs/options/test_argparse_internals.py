"""The private parts of argparse that we rely on: these tests fail if a Python release changes them."""

import gc
import sys
from argparse import SUPPRESS, ArgumentParser, BooleanOptionalAction, HelpFormatter, Namespace
from collections.abc import Sequence
from typing import Any
from weakref import ref

import pytest
from django.core.management.base import DjangoHelpFormatter

from jobledger.jobs.options import argparse_internals as internals
from jobledger.jobs.options.argparse_internals import ArgumentGroup, ExclusiveGroup, Kind, ParserStopped
from tests.unit.jobledger.jobs.options.parsers import AuthorsAction, a_plain_parser


class Custom(AuthorsAction):
    def act(self, parser: ArgumentParser, namespace: Namespace, values: str | Sequence[Any] | None) -> None:
        parser.print_help()
        parser.print_usage(sys.stderr)
        parser.exit(3, "over\n")


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, Kind.LAST),
        ({"action": "store_const", "const": 1}, Kind.LAST),
        ({"action": "store_true"}, Kind.LAST),
        ({"action": "store_false"}, Kind.LAST),
        ({"action": BooleanOptionalAction}, Kind.LAST),
        ({"action": Custom}, Kind.LAST),
        ({"action": "append"}, Kind.LIST),
        ({"action": "extend", "nargs": "+"}, Kind.LIST),
        ({"action": "append_const", "const": 1}, Kind.LIST),
        ({"action": "count"}, Kind.COUNT),
        ({"action": "help"}, Kind.EXIT),
        ({"action": "version", "version": "1"}, Kind.EXIT),
    ],
)
def test_the_kind_of_each_action(settings: dict[str, Any], kind: Kind) -> None:
    action = a_plain_parser().add_argument("--x", **settings)

    assert internals.kind_of(action) is kind
    assert internals.extends(action) is (settings.get("action") == "extend")


def test_actions_are_listed_in_order_including_those_of_groups() -> None:
    parser = a_plain_parser(add_help=False)
    first = parser.add_argument("--first")
    second = parser.add_argument_group("G").add_mutually_exclusive_group().add_argument("--second")
    third = parser.add_argument("third")

    assert internals.actions_of(parser) == (first, second, third)


def test_subcommands_are_known_by_name_and_alias_with_their_help() -> None:
    parser = a_plain_parser()
    action = parser.add_subparsers(dest="cmd")
    fetch = action.add_parser("fetch", aliases=["get"], help="Get it.")
    drop = action.add_parser("drop")
    deep = fetch.add_subparsers().add_parser("deep")

    assert internals.kind_of(action) is Kind.SUBCOMMAND
    assert internals.subcommands_of(action) == {"fetch": fetch, "get": fetch, "drop": drop}
    assert internals.subcommand_help(action) == {"fetch": "Get it."}
    assert list(internals.all_parsers(parser)) == [parser, fetch, deep, drop]
    assert internals.subcommands_of(parser.add_argument("--x")) == {}
    assert internals.subcommand_help(parser.add_argument("--y", choices=["a"])) == {}


def test_exclusive_groups_are_found_inside_other_groups() -> None:
    parser = a_plain_parser()
    free = parser.add_mutually_exclusive_group()
    one, two = free.add_argument("--one"), free.add_argument("--two")
    required = parser.add_argument_group("G").add_mutually_exclusive_group(required=True)
    three = required.add_argument("--three")

    assert internals.exclusive_groups(parser) == [
        ExclusiveGroup(actions=(one, two), is_required=False),
        ExclusiveGroup(actions=(three,), is_required=True),
    ]


def test_ungrouped_arguments_come_before_groups() -> None:
    parser = a_plain_parser(add_help=False)
    option = parser.add_argument("--option")
    group = parser.add_argument_group("Which", "Say which.")
    grouped = group.add_argument("--grouped")
    exclusive = group.add_mutually_exclusive_group().add_argument("--exclusive")
    positional = parser.add_argument("positional")

    assert internals.argument_groups(parser) == [
        ArgumentGroup(title="", description="", actions=(positional, option)),
        ArgumentGroup(title="Which", description="Say which.", actions=(grouped, exclusive)),
    ]


@pytest.mark.parametrize("formatter_class", [HelpFormatter, DjangoHelpFormatter])
def test_usage_has_only_the_given_arguments_and_no_colours(
    formatter_class: type[HelpFormatter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    parser = a_plain_parser(formatter_class=formatter_class)
    group = parser.add_mutually_exclusive_group()
    shown = [group.add_argument("--all", action="store_true"), group.add_argument("--only")]
    parser.add_argument("--hidden")

    assert internals.format_usage(parser, shown, width=80) == "job [--all | --only ONLY]"


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, "X_Y"),
        ({"metavar": "N"}, "N"),
        ({"nargs": "?"}, "[X_Y]"),
        ({"nargs": "*"}, "[X_Y ...]"),
        ({"nargs": "+"}, "X_Y [X_Y ...]"),
        ({"nargs": 2, "metavar": ("A", "B")}, "A B"),
        ({"choices": ["a", "b"]}, "{a,b}"),
    ],
)
def test_values_are_formatted_as_in_help(settings: dict[str, Any], text: str) -> None:
    assert internals.format_values(a_plain_parser().add_argument("--x-y", **settings)) == text


def test_help_is_expanded_with_another_default() -> None:
    parser = a_plain_parser()
    action = parser.add_argument("--x", type=int, default=3, help="100%% of %(prog)s: %(default)s %(type)s")

    assert internals.expand_help(parser, action, default="none") == "100% of job: none int"
    assert action.default == 3


def test_help_that_cannot_be_expanded_raises() -> None:
    parser = a_plain_parser()
    action = parser.add_argument("--x")
    action.help = "50 % off"

    with pytest.raises((ValueError, TypeError, KeyError)):
        internals.expand_help(parser, action, default=None)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--x", "a", "sub"], "over\n"),
        (["sub", "--n", "a"], "argument --n: invalid int value: 'a'"),
        (["--version", "sub"], "the command's parser exited instead of parsing"),
        (["--help"], "the command's parser exited instead of parsing"),
        (["sub", "-h"], "the command's parser exited instead of parsing"),
        ([], "the following arguments are required: cmd"),
    ],
)
def test_a_silenced_parser_raises_its_message_instead(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = a_plain_parser()
    parser.add_argument("--x", action=Custom)
    parser.add_argument("--version", action="version", version="1")
    parser.add_subparsers(dest="cmd", required=True).add_parser("sub").add_argument("--n", type=int)
    before = [dict(vars(each)) for each in internals.all_parsers(parser)]

    with pytest.raises(ParserStopped) as stopped, internals.silenced(parser):
        parser.parse_args(argv)

    assert str(stopped.value) == said
    assert capsys.readouterr() == ("", "")
    assert [dict(vars(each)) for each in internals.all_parsers(parser)] == before


@pytest.mark.skipif(sys.version_info < (3, 13), reason="Python 3.13 brought deprecated arguments")
def test_a_silenced_parser_prints_no_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    parser = a_plain_parser()
    parser.add_argument("--old", deprecated=True)

    with internals.silenced(parser):
        assert parser.parse_args(["--old", "x"]).old == "x"

    assert capsys.readouterr() == ("", "")


def test_hidden_arguments_are_included() -> None:
    parser = a_plain_parser(add_help=False)
    hidden = parser.add_argument("--hidden", help=SUPPRESS)

    assert internals.actions_of(parser) == (hidden,)


def a_parser_with_groups() -> ArgumentParser:
    parser = a_plain_parser(conflict_handler="resolve")
    parser.add_argument("--x", "-x")
    parser.add_argument_group("G").add_argument("--y")
    return parser


def test_a_parser_is_freed_once_nobody_uses_it() -> None:
    parser = a_parser_with_groups()
    seen = [ref(each) for each in (parser, *internals.actions_of(parser))]
    internals.free_when_unused(parser)
    assert parser.parse_args(["--x", "1"]).x == "1"
    gc.disable()
    try:
        del parser
        assert [each() for each in seen] == [None] * 4
    finally:
        gc.enable()


def test_arguments_of_such_a_parser_can_be_replaced() -> None:
    parser = a_parser_with_groups()
    internals.free_when_unused(parser)
    for flag in "--x", "-x", "--y":
        parser.add_argument(flag, type=int)
    assert parser.parse_args(["--x", "1", "-x", "2", "--y", "3"]) == Namespace(x=2, y=3)

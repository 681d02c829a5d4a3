from argparse import (
    REMAINDER,
    ArgumentParser,
    ArgumentTypeError,
    BooleanOptionalAction,
    Namespace,
)
from collections.abc import Sequence
from typing import Any

import pytest

from jobledger.jobs.options import OptionsError, from_argv, option_names, to_argv, validate_options
from tests.unit.jobledger.jobs.options.parsers import Argument, AuthorsAction, a_parser, arg

DAYS = arg("--days", type=int, default=30)
DRY_RUN = arg("--dry-run", action="store_true")
TAGS = arg("--tags", nargs="*")
CACHE = arg("--cache", action=BooleanOptionalAction, default=None)
ADD = arg("--add", action="append")
MODE = (
    arg("--fast", action="store_const", const="fast", dest="mode"),
    arg("--slow", action="store_const", const="slow", dest="mode"),
)
ON_OFF = (
    arg("--on", action="store_true", dest="power", default=None),
    arg("--off", action="store_false", dest="power"),
)


class KeyValue(AuthorsAction):
    def act(self, parser: ArgumentParser, namespace: Namespace, values: str | Sequence[Any] | None) -> None:
        setattr(namespace, self.dest, dict([str(values).split(":")]))


KINDS = [
    ([DAYS], {"days": 7}, ["--days=7"], 7),
    ([arg("--rate", type=float)], {"rate": 7.5}, ["--rate=7.5"], 7.5),
    ([arg("-n", type=int)], {"n": -7}, ["-n=-7"], -7),
    ([arg("-n", "--number")], {"number": "x"}, ["--number=x"], "x"),
    ([arg("--since", dest="start")], {"start": "May 1"}, ["--since=May 1"], "May 1"),
    ([arg("--level", type=int, choices=[1, 2])], {"level": 2}, ["--level=2"], 2),
    ([arg("--level", type=int, choices=[1, 2])], {"level": "2"}, ["--level=2"], 2),
    ([DRY_RUN], {"dry_run": True}, ["--dry-run"], True),
    ([DRY_RUN], {"dry_run": False}, [], False),
    ([arg("-q", "--quiet", action="store_true")], {"quiet": True}, ["--quiet"], True),
    ([arg("--quick", action="store_false")], {"quick": False}, ["--quick"], False),
    ([arg("--quick", action="store_false")], {"quick": True}, [], True),
    ([CACHE], {"cache": True}, ["--cache"], True),
    ([CACHE], {"cache": False}, ["--no-cache"], False),
    ([*ON_OFF], {"power": True}, ["--on"], True),
    ([*ON_OFF], {"power": False}, ["--off"], False),
    ([*MODE], {"mode": "slow"}, ["--slow"], "slow"),
    ([MODE[0]], {"mode": True}, ["--fast"], "fast"),
    ([MODE[0]], {"mode": False}, [], None),
    ([arg("--sum", action="store_const", const=sum)], {"sum": True}, ["--sum"], sum),
    ([arg("-w", action="count")], {"w": 3}, ["-w", "-w", "-w"], 3),
    ([arg("-w", action="count", default=0)], {"w": 0}, [], 0),
    ([ADD], {"add": ["a", "-b"]}, ["--add=a", "--add=-b"], ["a", "-b"]),
    ([ADD], {"add": []}, [], None),
    (
        [arg("--add", action="append", nargs=2)],
        {"add": [["a", "b"], ["c", "d"]]},
        ["--add", "a", "b", "--add", "c", "d"],
        [["a", "b"], ["c", "d"]],
    ),
    (
        [arg("--add", action="extend", nargs="+")],
        {"add": ["a", "-b"]},
        ["--add=a", "--add=-b"],
        ["a", "-b"],
    ),
    ([arg("--add", action="extend", nargs="*")], {"add": []}, ["--add"], []),
    (
        [arg("--add", action="extend", nargs=2)],
        {"add": ["a", "b", "c", "d"]},
        ["--add", "a", "b", "--add", "c", "d"],
        ["a", "b", "c", "d"],
    ),
    (
        [
            arg("--str", dest="kinds", action="append_const", const=str),
            arg("--one", dest="kinds", action="append_const", const=1),
        ],
        {"kinds": [1, "str", 1]},
        ["--one", "--str", "--one"],
        [1, str, 1],
    ),
    ([TAGS], {"tags": ["a", "b c", "", "é\n"]}, ["--tags", "a", "b c", "", "é\n"], None),
    ([TAGS], {"tags": []}, ["--tags"], []),
    ([arg("--pair", nargs=2, type=int)], {"pair": [1, 2]}, ["--pair", "1", "2"], [1, 2]),
    ([arg("--one", nargs=1)], {"one": ["-x"]}, ["--one=-x"], ["-x"]),
    ([arg("--color", nargs="?", const="auto")], {"color": True}, ["--color"], "auto"),
    ([arg("--color", nargs="?", const="auto")], {"color": "no"}, ["--color=no"], "no"),
    ([arg("--run", nargs=REMAINDER)], {"run": ["a", "--x"]}, ["--run", "a", "--x"], None),
    ([arg("user", type=int)], {"user": 5}, ["5"], 5),
    ([arg("user", nargs="?", default="me")], {"user": "you"}, ["you"], "you"),
    ([arg("user", nargs="?", default="me")], {}, [], "me"),
    ([arg("files", nargs="+")], {"files": ["a", "b"]}, ["a", "b"], ["a", "b"]),
    ([arg("files", nargs="*")], {"files": []}, [], []),
    ([arg("pair", nargs=2)], {"pair": ["a", "b"]}, ["a", "b"], ["a", "b"]),
    ([arg("rest", nargs=REMAINDER)], {"rest": ["a", "--x"]}, ["a", "--x"], ["a", "--x"]),
    ([arg("--set", action=KeyValue)], {"set": "a:b"}, ["--set=a:b"], {"a": "b"}),
]


@pytest.mark.parametrize(("arguments", "options", "argv", "value"), KINDS)
def test_each_kind_of_argument_is_written_in_its_own_way_and_parsed_back(
    arguments: list[Argument], options: dict[str, Any], argv: list[str], value: object
) -> None:
    dest = next(iter(options), "user")

    assert to_argv(a_parser(*arguments), options) == argv

    parsed = getattr(validate_options(a_parser(*arguments), options), dest)
    assert parsed == (options[dest] if value is None and argv else value)


WRONG_SHAPES = [
    (DAYS, [7], "days: expected text or a number, not [7]"),
    (DAYS, True, "days: expected text or a number, not true"),
    (DAYS, {"a": 1}, 'days: expected text or a number, not {"a": 1}'),
    (DAYS, float("nan"), "days: expected text or a number, not NaN"),
    (DAYS, float("inf"), "days: expected text or a number, not Infinity"),
    (DAYS, 10**400, f"days: expected a number below 1.8e308, not 1{'0' * 78}…"),
    (TAGS, "a", 'tags: expected a list of values, not "a"'),
    (TAGS, [["a"]], 'tags: expected text or a number, not ["a"]'),
    (TAGS, [None], "tags: expected text or a number, not null"),
    (arg("--tags", nargs="+"), [], "tags: expected a list of at least one value, not []"),
    (arg("--pair", nargs=2), [1], "pair: expected a list of 2 values, not [1]"),
    (arg("--pair", action="extend", nargs=2), [1], "pair: expected a list of 2 values, not [1]"),
    (DRY_RUN, "yes", 'dry_run: expected true or false, not "yes"'),
    (DRY_RUN, 1, "dry_run: expected true or false, not 1"),
    (arg("--on", action="store_true", default=True), False, "on: expected true, not false"),
    (arg("--no-x", action="store_false", dest="x"), "no", 'x: expected true or false, not "no"'),
    (CACHE, "no", 'cache: expected true or false, not "no"'),
    (MODE[0], "slow", 'mode: expected "fast" or false, not "slow"'),
    (ADD, "a", 'add: expected a list, not "a"'),
    (ADD, [["a"]], 'add: expected text or a number, not ["a"]'),
    (arg("--k", action="append_const", const=1), [2], "k: expected a list of 1, not 2"),
    (arg("-w", action="count"), -1, "w: expected a whole number from 0 to 100, not -1"),
    (arg("-w", action="count"), True, "w: expected a whole number from 0 to 100, not true"),
    (arg("-w", action="count"), 101, "w: expected a whole number from 0 to 100, not 101"),
    (arg("--color", nargs="?"), False, "color: expected text or a number, not false"),
    (arg("user", nargs="?"), True, "user: expected text or a number, not true"),
    (
        arg("files", nargs="*", default=["all"]),
        [],
        "files: expected a list of at least one value (or leave it out), not []",
    ),
    (DAYS, ["x" * 100], f'days: expected text or a number, not ["{"x" * 77}…'),
]


@pytest.mark.parametrize(("argument", "value", "message"), WRONG_SHAPES)
def test_a_value_of_the_wrong_shape_is_rejected_with_what_is_expected(
    argument: Argument, value: object, message: str
) -> None:
    parser = a_parser(argument)

    with pytest.raises(OptionsError) as refusal:
        to_argv(parser, {option_names(parser)[0]: value})

    assert str(refusal.value) == message


def test_an_unknown_flag_value_is_rejected_with_the_valid_ones() -> None:
    with pytest.raises(OptionsError, match='mode: expected "fast" or "slow", not true'):
        to_argv(a_parser(*MODE), {"mode": True})


def test_null_means_not_given() -> None:
    assert to_argv(a_parser(DAYS, TAGS, DRY_RUN), dict.fromkeys(["days", "tags", "dry_run"])) == []


def test_an_unknown_option_is_rejected_with_the_valid_ones() -> None:
    with pytest.raises(OptionsError) as refusal:
        to_argv(a_parser(DAYS, DRY_RUN, arg("user")), {"dayz": None})

    known = "days, dry_run, user, verbosity"
    assert str(refusal.value) == f"dayz: no such option; valid options are: {known}"


@pytest.mark.parametrize(
    "name",
    [
        "settings",
        "pythonpath",
        "stdout",
        "stderr",
        "traceback",
        "no_color",
        "force_color",
        "skip_checks",
        "version",
        "help",
    ],
)
def test_an_option_of_manage_py_is_rejected_with_the_valid_ones(name: str) -> None:
    with pytest.raises(OptionsError) as refusal:
        to_argv(a_parser(DAYS), {name: "x"})

    assert str(refusal.value).startswith(f"{name}: is an option of manage.py itself")
    assert str(refusal.value).endswith("valid options are: days, verbosity")


def test_verbosity_is_an_option_and_the_last_one() -> None:
    assert option_names(a_parser(DAYS)) == ["days", "verbosity"]
    assert validate_options(a_parser(DAYS), {"verbosity": 2}).verbosity == 2


def even(text: str) -> int:
    if int(text) % 2:
        raise ArgumentTypeError(f"{text} is odd,\nand odd is not allowed")
    return int(text)


@pytest.mark.parametrize(
    ("argument", "options", "message"),
    [
        (DAYS, {"days": "x"}, "argument --days: invalid int value: 'x'"),
        (DAYS, {"days": 7.5}, "argument --days: invalid int value: '7.5'"),
        (arg("-e", type=even), {"e": 3}, "argument -e: 3 is odd,\nand odd is not allowed"),
        (arg("--must", required=True), {}, "the following arguments are required: --must"),
        (arg("user"), {"user": None}, "the following arguments are required: user"),
    ],
)
def test_the_parser_validates_and_its_message_is_kept(
    argument: Argument, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionsError) as refusal:
        validate_options(a_parser(argument), options)

    assert str(refusal.value) == message


def test_an_invalid_choice_is_rejected_with_the_valid_ones() -> None:
    with pytest.raises(OptionsError, match=r"argument --to: invalid choice: 'c' \(choose from"):
        validate_options(a_parser(arg("--to", choices=["a", "b"])), {"to": "c"})


def an_exclusive_parser(*, required: bool = False) -> ArgumentParser:
    parser = a_parser()
    group = parser.add_mutually_exclusive_group(required=required)
    group.add_argument("--all", action="store_true")
    group.add_argument("--only")
    return parser


def test_mutually_exclusive_options_are_rejected_together() -> None:
    with pytest.raises(OptionsError, match="argument --only: not allowed with argument --all"):
        validate_options(an_exclusive_parser(), {"all": True, "only": "x"})

    assert validate_options(an_exclusive_parser(), {"all": False, "only": "x"}).only == "x"


def test_one_option_of_a_required_group_must_be_given() -> None:
    with pytest.raises(OptionsError, match="one of the arguments --all --only is required"):
        validate_options(an_exclusive_parser(required=True), {})


@pytest.mark.parametrize(
    ("line", "options"),
    [
        (["--days", "7", "--dry-run"], {"days": 7, "dry_run": True}),
        (["--days=07"], {"days": 7}),
        (["--da", "30"], {"days": 30}),
        (["--rate", "1e3"], {"rate": 1000.0}),
        (["--rate", "nan"], {"rate": "nan"}),
        (["--days=1", "--days=2"], {"days": 2}),
        (["-v2"], {"verbosity": 2}),
        (["-www"], {"w": 3}),
        (["--cache", "--no-cache"], {"cache": False}),
        (["--on", "--off"], {"power": False}),
        (["--slow"], {"mode": "slow"}),
        (["--color"], {"color": True}),
        (["--color", "no"], {"color": "no"}),
        (["--tags"], {"tags": []}),
        (["--tags", "1", "b"], {"tags": ["1", "b"]}),
        (["--tags=a", "--", "-b"], {"tags": ["a"], "files": ["-b"]}),
        (["x", "--add", "a", "--add=b", "y"], None),
        (["--add", "a", "--add=b", "x", "y"], {"add": ["a", "b"], "files": ["x", "y"]}),
        (["--set", "a:b"], {"set": "a:b"}),
        (["--set=a:1", "--set=b:2"], {"set": ["a:1", "b:2"]}),
        (["--more", "a", "b", "--more", "c"], {"more": ["a", "b", "c"]}),
        ([], {}),
    ],
)
def test_an_argument_list_is_converted_to_options(line: list[str], options: dict[str, Any] | None) -> None:
    parser = a_parser(
        DAYS,
        DRY_RUN,
        TAGS,
        CACHE,
        ADD,
        *MODE,
        *ON_OFF,
        arg("--rate", type=float),
        arg("-w", action="count"),
        arg("--color", nargs="?"),
        arg("--set", action=KeyValue),
        arg("--more", action="extend", nargs="+"),
        arg("files", nargs="*"),
    )

    if options is None:
        with pytest.raises(OptionsError, match="unrecognized arguments: y"):
            from_argv(parser, line)
    else:
        assert from_argv(parser, line) == options


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["--days", "x"], "argument --days: invalid int value: 'x'"),
        (["--nope"], "unrecognized arguments: --nope"),
        (["--days"], "argument --days: expected one argument"),
        (["--help"], "--help: is an option of manage.py itself"),
        (["-h"], "-h: is an option of manage.py itself"),
        (["--version"], "--version: is an option of manage.py itself"),
        (["--settings=x"], "--settings: is an option of manage.py itself"),
        (["--info"], "--info: no such option"),
    ],
)
def test_an_invalid_argument_list_is_rejected(line: list[str], message: str) -> None:
    info = arg("--info", action="version", version="1", dest="info")
    with pytest.raises(OptionsError, match=message):
        from_argv(a_parser(DAYS, info, arg("--set", action=KeyValue)), line)


def test_an_option_that_shares_its_dest_with_another_kind_is_rejected_in_a_line() -> None:
    parser = a_parser(arg("--loud", action="count"), arg("--loudness", dest="loud", type=int))

    assert to_argv(parser, {"loud": 2}) == ["--loud", "--loud"]
    with pytest.raises(OptionsError, match="--loudness: shares its dest, loud, with an option"):
        from_argv(parser, ["--loudness=2"])

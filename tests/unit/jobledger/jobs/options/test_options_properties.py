"""Random parsers and options, compared to command lines built in a different way."""

from argparse import REMAINDER, ArgumentParser, BooleanOptionalAction
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from jobledger.jobs.options import (
    OptionsError,
    from_argv,
    from_namespace,
    option_names,
    to_argv,
    validate_options,
)
from jobledger.jobs.options.argument_list import parse
from tests.unit.jobledger.jobs.options.parsers import Argument, a_parser, arg

SETTINGS = settings(max_examples=60)


@dataclass(frozen=True, kw_only=True)
class Said:
    """An argument, and a value for it in three forms."""

    arguments: list[Argument]
    options: dict[str, Any]
    """As a user would fill them in."""
    told: dict[str, Any]
    """As read back from a command line."""
    line: list[str]
    is_positional: bool = False


PLAIN = st.text(st.sampled_from("ab é\n='\"\\%0"), max_size=4)
HARD = PLAIN | st.sampled_from(["-", "-5", "--a0", "-x", "-x y", "--a1=b", "@f", "—"])
NUMBERS = st.integers(-99, 99)
MAYBE = st.booleans()


def said(name: str, argument: Argument, value: Any, *line: str) -> Said:
    return Said(arguments=[argument], options={name: value}, told={name: value}, line=[*line])


def a_value(name: str) -> st.SearchStrategy[Said]:
    return HARD.map(lambda text: said(name, arg(f"--{name}"), text, f"--{name}={text}"))


def a_short_value(name: str) -> st.SearchStrategy[Said]:
    flag = "-" + "defij"[int(name[-1])]
    return HARD.map(lambda text: said(name, arg(flag, dest=name), text, f"{flag}={text}"))


def an_int(name: str) -> st.SearchStrategy[Said]:
    argument = arg(f"--{name}", type=int, default=3)
    return NUMBERS.map(lambda number: said(name, argument, number, f"--{name}", str(number)))


def a_float(name: str) -> st.SearchStrategy[Said]:
    argument = arg(f"--{name}", type=float)
    floats = st.floats(allow_nan=False, allow_infinity=False)
    return floats.map(lambda number: said(name, argument, number, f"--{name}={number!r}"))


def a_choice(name: str) -> st.SearchStrategy[Said]:
    argument = arg(f"--{name}", type=int, choices=[1, 2, 3], required=True)
    return st.integers(1, 3).map(lambda number: said(name, argument, number, f"--{name}={number}"))


def a_list(name: str) -> st.SearchStrategy[Said]:
    argument = arg(f"--{name}", nargs="*")
    lists = st.lists(PLAIN, max_size=3)
    return lists.map(lambda values: said(name, argument, values, f"--{name}", *values))


def a_pair(name: str) -> st.SearchStrategy[Said]:
    argument = arg(f"--{name}", nargs=2, type=int)
    pairs = st.lists(NUMBERS, min_size=2, max_size=2)
    return pairs.map(lambda values: said(name, argument, values, f"--{name}", *map(str, values)))


def an_optional_value(name: str) -> st.SearchStrategy[Said]:
    argument = arg(f"--{name}", nargs="?", const="c", default="d")
    given_one = PLAIN.map(lambda text: said(name, argument, text, f"--{name}={text}"))
    return given_one | st.just(said(name, argument, True, f"--{name}"))


def a_flag(name: str) -> st.SearchStrategy[Said]:
    def build(value: bool, stores: bool) -> Said:
        argument = arg(f"--{name}", action="store_true" if stores else "store_false")
        is_written = value is stores
        return Said(
            arguments=[argument],
            options={name: value},
            told={name: value} if is_written else {},
            line=[f"--{name}"] if is_written else [],
        )

    return st.builds(build, MAYBE, MAYBE)


def a_switch(name: str) -> st.SearchStrategy[Said]:
    argument = arg(f"--{name}", action=BooleanOptionalAction)
    return MAYBE.map(lambda on: said(name, argument, on, f"--{name}" if on else f"--no-{name}"))


def a_mode(name: str) -> st.SearchStrategy[Said]:
    def build(mode: str) -> Said:
        flags = [
            arg(f"--{each}-{name}", action="store_const", const=each, dest=name) for each in ("fast", "slow")
        ]
        one = said(name, flags[0], mode, f"--{mode}-{name}")
        return Said(arguments=flags, options=one.options, told=one.told, line=one.line)

    return st.sampled_from(["fast", "slow"]).map(build)


def a_count(name: str) -> st.SearchStrategy[Said]:
    def build(count: int) -> Said:
        return Said(
            arguments=[arg(f"--{name}", action="count", default=0)],
            options={name: count},
            told={name: count} if count else {},
            line=[f"--{name}"] * count,
        )

    return st.integers(0, 3).map(build)


def a_growing_list(name: str) -> st.SearchStrategy[Said]:
    def build(values: list[str], argument: Argument) -> Said:
        return Said(
            arguments=[argument],
            options={name: values},
            told={name: values} if values else {},
            line=[f"--{name}={value}" for value in values],
        )

    kinds = [
        arg(f"--{name}", action="append"),
        arg(f"--{name}", action="append", default=["z"]),
        arg(f"--{name}", action="extend", nargs="+"),
    ]
    return st.builds(build, st.lists(HARD, max_size=3), st.sampled_from(kinds))


def a_list_of_lists(name: str) -> st.SearchStrategy[Said]:
    def build(values: list[list[str]]) -> Said:
        argument = arg(f"--{name}", action="append", nargs="+")
        words = [word for value in values for word in (f"--{name}", *value)]
        return said(name, argument, values, *words)

    return st.lists(st.lists(PLAIN, min_size=1, max_size=2), min_size=1, max_size=2).map(build)


OPTIONS: list[Callable[[str], st.SearchStrategy[Said]]] = [
    a_value,
    a_short_value,
    an_int,
    a_float,
    a_choice,
    a_list,
    a_pair,
    an_optional_value,
    a_flag,
    a_switch,
    a_mode,
    a_count,
    a_growing_list,
    a_list_of_lists,
]


@st.composite
def positionals(draw: st.DrawFn) -> list[Said]:
    """Up to two single ones, possibly followed by one that takes any number."""
    found = []
    for name in ("p0", "p1")[: draw(st.integers(0, 2))]:
        text = draw(HARD)
        found.append(said(name, arg(name), text, text))
    if nargs := draw(st.sampled_from([None, "?", "*", "+", 2])):
        size = {"?": 1, 2: 2}.get(nargs)
        texts = draw(st.lists(HARD, min_size=size or 1, max_size=size or 3))
        value = texts[0] if nargs == "?" else texts
        found.append(said("last", arg("last", nargs=nargs), value, *texts))
    return [
        Said(arguments=s.arguments, options=s.options, told=s.told, line=s.line, is_positional=True)
        for s in found
    ]


@st.composite
def all_said(draw: st.DrawFn) -> list[Said]:
    kinds = draw(st.lists(st.sampled_from(OPTIONS), max_size=5))
    options = [draw(kind(f"a{number}")) for number, kind in enumerate(kinds)]
    return [*options, *draw(positionals())]


def parser_of(everything: list[Said]) -> ArgumentParser:
    return a_parser(*(argument for each in everything for argument in each.arguments))


def options_of(everything: list[Said]) -> dict[str, Any]:
    return {name: value for each in everything for name, value in each.options.items()}


def told_of(everything: list[Said]) -> dict[str, Any]:
    return {name: value for each in everything for name, value in each.told.items()}


def line_of(everything: list[Said]) -> list[str]:
    """Options in reverse order, unlike the code under test."""
    options = [word for each in reversed(everything) if not each.is_positional for word in each.line]
    words = [word for each in everything if each.is_positional for word in each.line]
    return [*options, "--", *words] if words else options


@SETTINGS
@given(all_said())
def test_options_are_parsed_like_a_hand_written_line(everything: list[Said]) -> None:
    by_hand = parser_of(everything).parse_args(line_of(everything))

    assert validate_options(parser_of(everything), options_of(everything)) == by_hand


@SETTINGS
@given(all_said())
def test_written_options_are_read_back(everything: list[Said]) -> None:
    line = to_argv(parser_of(everything), options_of(everything))

    assert from_argv(parser_of(everything), line) == told_of(everything)
    assert from_argv(parser_of(everything), line_of(everything)) == told_of(everything)


@SETTINGS
@given(all_said())
def test_received_options_can_be_passed_again(everything: list[Said]) -> None:
    received = validate_options(parser_of(everything), options_of(everything))

    told = from_namespace(parser_of(everything), vars(received))

    required = {name: value for name, value in told_of(everything).items() if name not in told}
    assert validate_options(parser_of(everything), required | told) == received


def a_rich_parser() -> ArgumentParser:
    parser = a_parser(
        arg("--days", type=int, default=30),
        arg("--date", dest="day"),
        arg("--dry-run", action="store_true"),
        arg("--cache", action=BooleanOptionalAction),
        arg("--fast", action="store_const", const="fast", dest="mode"),
        arg("--slow", action="store_const", const="slow", dest="mode"),
        arg("--tags", nargs="*"),
        arg("--pair", nargs=2),
        arg("--add", action="append"),
        arg("--some", action="extend", nargs="+"),
        arg("-w", action="count"),
        arg("--color", nargs="?", const="auto"),
        arg("--run", nargs=REMAINDER),
        arg("-n", type=float),
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--all", action="store_true")
    group.add_argument("--only", choices=["a", "b"])
    parser.add_argument("first", nargs="?")
    return parser


@cache
def a_rich_parser_with(kind: str) -> ArgumentParser:
    """A single parser for all examples: nothing may modify it."""
    parser = a_rich_parser()
    if kind == "subcommands":
        inner = parser.add_subparsers(dest="cmd").add_parser("sub")
        inner.add_argument("--deep", nargs="+")
        inner.add_argument("names", nargs="*")
    else:
        parser.add_argument("others", nargs=kind)
    return parser


RICH = st.sampled_from(["*", "?", REMAINDER, "subcommands"])
VALUES = HARD | st.sampled_from(["--", "--deep", "sub", "a", "--tags", "--run"])
WORDS = VALUES | st.sampled_from(
    [
        "--days",
        "7",
        "--days=3",
        "--da",
        "--day=4",
        "--date=x",
        "--dry-run",
        "--no-cache",
        "--cache",
        "--fast",
        "--slow",
        "--tags=a",
        "--pair",
        "--add",
        "--add=b",
        "--some",
        "-w",
        "-ww",
        "-wn5",
        "-n",
        "-n=1",
        "--color",
        "--color=no",
        "--all",
        "--only",
        "--only=a",
        "-v",
        "-v2",
        "--verbosity",
        "--help",
        "--settings=x",
        "--deep=a",
    ]
)


@settings(SETTINGS, max_examples=120)
@given(RICH, st.lists(WORDS, max_size=6))
def test_a_line_and_its_options_are_parsed_alike_or_rejected(kind: str, line: list[str]) -> None:
    try:
        options = from_argv(a_rich_parser_with(kind), line)
    except OptionsError:
        return
    assert validate_options(a_rich_parser_with(kind), options) == parse(a_rich_parser_with(kind), line)


LISTS = st.lists(VALUES, min_size=1, max_size=3)


@settings(SETTINGS, max_examples=120)
@given(
    RICH,
    st.fixed_dictionaries(
        {},
        optional={
            "day": VALUES,
            "tags": LISTS,
            "pair": st.lists(VALUES, min_size=2, max_size=2),
            "add": LISTS,
            "some": LISTS,
            "run": LISTS,
            "color": VALUES,
            "first": VALUES,
            "others": LISTS,
            "deep": LISTS,
            "names": LISTS,
        },
    ),
)
def test_a_difficult_value_is_kept_or_rejected(kind: str, options: dict[str, Any]) -> None:
    if kind == "subcommands":
        options = options | {"cmd": "sub"}
    if kind == "?" and "others" in options:
        options = options | {"others": options["others"][0]}
    known = {key: options[key] for key in options if key in option_names(a_rich_parser_with(kind))}

    try:
        parsed = vars(validate_options(a_rich_parser_with(kind), known))
    except OptionsError:
        return
    assert {key: parsed[key] for key in known} == known
    unsaid = a_rich_parser_with(kind).parse_args([])
    assert all(parsed[key] in (value, []) for key, value in vars(unsaid).items() if key not in known)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PLAIN, inner, max_size=2),
    max_leaves=5,
)


def named_json(kind: str) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    names = st.sampled_from([*option_names(a_rich_parser_with(kind)), "settings"])
    values = JSON | st.lists(VALUES) | st.just("sub")
    return st.tuples(st.just(kind), st.dictionaries(names, values, max_size=3))


@settings(SETTINGS, max_examples=120)
@given(RICH.flatmap(named_json), st.just({}) | st.dictionaries(PLAIN, JSON, max_size=1))
def test_any_json_is_parsed_or_rejected(named: tuple[str, dict[str, Any]], strange: dict[str, Any]) -> None:
    kind, options = named
    try:
        parsed = validate_options(a_rich_parser_with(kind), options | strange)
    except OptionsError as refusal:
        assert str(refusal)  # noqa: PT017 - a refusal is as good
    else:
        assert vars(parsed).keys() >= options.keys()

from argparse import REMAINDER, ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest
from django.core.management.base import CommandError

from jobledger.jobs.options import OptionsError, from_argv, to_argv, validate_options
from jobledger.jobs.options.argument_list import parse
from tests.unit.jobledger.jobs.options.parsers import Argument, AuthorsAction, a_parser, a_plain_parser, arg

DASHED = ["-5", "-", "--foo", "-x y", "-n", "--name=1", "-=", "—"]


@pytest.mark.parametrize("value", DASHED)
def test_a_value_that_starts_with_a_dash_is_not_read_as_an_option(value: str) -> None:
    parser = a_parser(
        arg("--name"),
        arg("-n", dest="short"),
        arg("--add", action="append"),
        arg("--more", action="extend", nargs="+"),
        arg("--one", nargs="*"),
        arg("first"),
        arg("others", nargs="*"),
    )
    options = {
        "name": value,
        "short": value,
        "add": [value, value],
        "more": ["a", value],
        "one": [value],
        "first": value,
        "others": [value, "b", value],
    }

    parsed = vars(validate_options(parser, options))

    assert {dest: parsed[dest] for dest in options} == options


def test_a_list_may_contain_negative_numbers() -> None:
    assert validate_options(a_parser(arg("--at", nargs=2, type=int)), {"at": [-5, -3]}).at == [-5, -3]


def test_negative_numbers_in_a_list_are_rejected_if_a_flag_looks_like_one() -> None:
    parser = a_parser(arg("--at", nargs="+"), arg("-1", action="store_true", dest="one"))

    with pytest.raises(OptionsError, match="at: '-5' '-3' cannot be written"):
        to_argv(parser, {"at": [-5, -3]})


UNWRITABLE = [["-a", "b"], ["a", "--tags"], ["a", "--"], ["--", "a"]]


@pytest.mark.parametrize("nargs", ["+", "*"])
@pytest.mark.parametrize("values", UNWRITABLE)
def test_a_list_that_no_command_line_can_express_is_rejected(nargs: str, values: list[str]) -> None:
    with pytest.raises(OptionsError, match=r"tags: '.*' '.*' cannot be written on a command line"):
        to_argv(a_parser(arg("--tags", nargs=nargs)), {"tags": values})


@pytest.mark.parametrize("values", UNWRITABLE)
def test_a_pair_that_only_some_versions_of_argparse_support_is_kept_or_rejected(
    values: list[str],
) -> None:
    try:
        parsed = validate_options(a_parser(arg("--tags", nargs=2)), {"tags": values}).tags
    except OptionsError as refusal:
        assert "cannot be written on a command line" in str(refusal)  # noqa: PT017 - as good
    else:
        assert parsed == values


@pytest.mark.parametrize("argument", [arg("--to"), arg("--to", nargs="?"), arg("--to", nargs="*"), arg("to")])
def test_two_dashes_as_a_value_are_kept_or_rejected(argument: Argument) -> None:
    value: Any = ["--"] if argument.settings.get("nargs") == "*" else "--"

    try:
        parsed = validate_options(a_parser(argument), {"to": value}).to
    except OptionsError as refusal:
        assert str(refusal).startswith("to: '--' cannot be written on a command line")  # noqa: PT017 - as good
    else:
        assert parsed == value


def test_a_positional_is_not_consumed_by_a_list_before_it() -> None:
    parser = a_parser(arg("--tags", nargs="+"), arg("user"))

    assert to_argv(parser, {"tags": ["a", "b"], "user": "me"}) == ["--tags", "a", "b", "--", "me"]


def test_a_positional_is_rejected_without_the_one_before_it() -> None:
    parser = a_parser(arg("source", nargs="?"), arg("target", nargs="?"))

    with pytest.raises(OptionsError, match="target: cannot be given without source"):
        to_argv(parser, {"target": "x"})


def test_a_remainder_that_starts_with_an_option_is_rejected() -> None:
    parser = a_parser(arg("--dry-run", action="store_true"), arg("rest", nargs=REMAINDER))

    assert validate_options(parser, {"rest": ["x", "--dry-run"]}).dry_run is False
    with pytest.raises(OptionsError, match="rest: '--dry-run' 'x' cannot be written"):
        to_argv(parser, {"rest": ["--dry-run", "x"]})


def test_a_remainder_is_rejected_if_a_list_would_consume_it() -> None:
    parser = a_parser(arg("--tags", nargs="+"), arg("rest", nargs=REMAINDER))

    with pytest.raises(OptionsError, match="rest: 'x' cannot be written on a command line after"):
        to_argv(parser, {"tags": ["a", "b"], "rest": ["x"]})


def test_nothing_follows_an_option_that_takes_all_remaining_words() -> None:
    parser = a_parser(arg("--run", nargs=REMAINDER), arg("--days", type=int), arg("user"))
    options = {"run": ["a", "--days=3"], "days": 2, "user": "me"}

    parsed = vars(validate_options(parser, options))

    assert {dest: parsed[dest] for dest in options} == options


def test_the_order_of_values_in_one_list_is_kept() -> None:
    parser = a_parser(
        arg("--one", action="append_const", const=1, dest="all"),
        arg("--some", action="append", nargs="+", dest="all"),
        arg("--days", type=int),
        arg("rest", nargs=REMAINDER),
    )
    options = {"all": [["a", "b"], 1, ["c", "d"]], "days": 3, "rest": ["x"]}

    assert validate_options(parser, options).all == options["all"]


@pytest.mark.parametrize(
    ("argument", "value"),
    [(arg("names", nargs="+"), ["a", "@b"]), (arg("--names", nargs="+"), ["a", "@b"])],
)
def test_a_value_is_not_read_as_an_arguments_file(argument: Argument, value: list[str]) -> None:
    parser = a_parser(argument, fromfile_prefix_chars="@")

    with pytest.raises(OptionsError, match="names: '@b' would be read as the name of an arguments file"):
        validate_options(parser, {"names": value})


def test_a_value_after_an_equals_sign_is_not_an_arguments_file(tmp_path: Path) -> None:
    (tmp_path / "args").write_text("x")
    parser = a_parser(arg("--name"), fromfile_prefix_chars="@")

    assert validate_options(parser, {"name": f"@{tmp_path}/args"}).name == f"@{tmp_path}/args"


def test_a_line_with_an_arguments_file_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "args").write_text("--name=x")
    parser = a_parser(arg("--name"), fromfile_prefix_chars="@")

    with pytest.raises(OptionsError, match="would be read as the name of an arguments file"):
        from_argv(parser, [f"@{tmp_path}/args"])


def test_an_abbreviation_of_another_option_makes_no_difference() -> None:
    parser = a_parser(arg("--da"), arg("--days"), arg("--date"))

    assert validate_options(parser, {"da": "--day", "days": "--dat"}).da == "--day"


def test_an_abbreviation_is_a_value_if_abbreviations_are_disabled() -> None:
    tags = {"tags": ["--da=x y", "b"]}

    assert validate_options(a_parser(arg("--tags", nargs="+"), arg("--days"), allow_abbrev=False), tags).tags
    with pytest.raises(OptionsError, match="cannot be written on a command line"):
        validate_options(a_parser(arg("--tags", nargs="+"), arg("--days")), tags)


def test_prefixes_other_than_a_dash_work() -> None:
    parser = a_plain_parser(arg("++to"), arg("+n", nargs="+"), prefix_chars="+")

    assert vars(validate_options(parser, {"to": "+x", "n": ["-a", "-b"]})) == {"to": "+x", "n": ["-a", "-b"]}


# The parser validates


class Leave(AuthorsAction):
    def act(self, parser: ArgumentParser, namespace: Namespace, values: str | Sequence[Any] | None) -> None:
        parser.print_help()
        parser.exit(message=f"left at {values}\n")


def raiser(error: BaseException) -> Callable[[str], NoReturn]:
    def raises(text: str) -> NoReturn:
        raise error

    return raises


A_BAD_DAY = "argument --days: invalid int value: 'x'"


@pytest.mark.parametrize("is_from_command_line", [True, False])
def test_a_parse_error_neither_prints_nor_exits(
    is_from_command_line: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = a_parser(arg("--days", type=int))
    parser.called_from_command_line = is_from_command_line

    with pytest.raises(OptionsError) as refusal:
        validate_options(parser, {"days": "x"})

    assert str(refusal.value) == A_BAD_DAY
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("exits", [True, False])
def test_a_plain_parser_validates_too(exits: bool, capsys: pytest.CaptureFixture[str]) -> None:
    parser = a_plain_parser(arg("--days", type=int), exit_on_error=exits)

    with pytest.raises(OptionsError) as refusal:
        validate_options(parser, {"days": "x"})

    assert str(refusal.value) == A_BAD_DAY
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (arg("--x", action=Leave), "left at a"),
        (arg("--x", type=raiser(SystemExit(3))), "the command's parser exited the process"),
        (arg("--x", type=raiser(CommandError("Error: no more"))), "no more"),
        (
            arg("--x", type=raiser(KeyError("a"))),
            "the command's parser failed with KeyError: 'a'",
        ),
    ],
)
def test_any_exception_of_a_type_or_an_action_is_an_options_error(
    argument: Argument, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(OptionsError) as refusal:
        parse(a_parser(argument), ["--x=a"])

    assert str(refusal.value) == message
    assert capsys.readouterr() == ("", "")


def test_a_type_that_calls_parser_error_is_an_options_error() -> None:
    parser = a_parser()
    parser.add_argument("--x", type=lambda text: parser.error(f"{text} is not for today"))

    with pytest.raises(OptionsError, match=r"^a is not for today$"):
        validate_options(parser, {"x": "a"})


def test_missing_arguments_message_of_a_command_is_kept() -> None:
    parser = a_parser(arg("--x"))
    parser.missing_args_message = "Say at least one thing."

    with pytest.raises(OptionsError, match=r"^Say at least one thing\.$"):
        validate_options(parser, {})


def test_the_parser_is_left_as_it_was() -> None:
    parser = a_parser(arg("--x", type=int))
    before = dict(vars(parser))

    with pytest.raises(OptionsError):
        validate_options(parser, {"x": "a"})

    assert vars(parser) == before
    with pytest.raises(CommandError, match="Error: argument --x: invalid int value"):
        parser.parse_args(["--x=a"])

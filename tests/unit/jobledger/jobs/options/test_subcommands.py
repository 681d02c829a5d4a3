from argparse import SUPPRESS

import pytest
from django.core.management.base import CommandParser

from jobledger.jobs.options import (
    OptionsError,
    from_argv,
    from_namespace,
    option_names,
    to_argv,
    validate_options,
)
from tests.unit.jobledger.jobs.options.parsers import Argument, a_parser, a_plain_parser, arg


def a_parser_with_subcommands(*arguments: Argument, dest: str = "cmd") -> CommandParser:
    """``fetch URL [--depth N]`` and ``drop [--force] NAME...``, after the given arguments."""
    parser = a_parser(*arguments)
    subcommands = parser.add_subparsers(dest=dest)
    fetch = subcommands.add_parser("fetch", aliases=["get"])
    fetch.add_argument("url")
    fetch.add_argument("--depth", type=int, default=1)
    drop = subcommands.add_parser("drop")
    drop.add_argument("--force", action="store_true")
    drop.add_argument("names", nargs="*")
    return parser


DAYS = arg("--days", type=int)


def test_the_options_of_a_subcommand_are_at_the_same_level_as_its_name() -> None:
    parser = a_parser_with_subcommands(DAYS)
    options = {"days": 2, "cmd": "fetch", "url": "-x", "depth": 3, "verbosity": 0}
    line = ["--days=2", "--verbosity=0", "fetch", "--depth=3", "--", "-x"]

    parsed = vars(validate_options(parser, options))

    assert to_argv(parser, options) == line
    assert from_argv(parser, line) == options
    assert {key: parsed[key] for key in options} == options
    assert from_namespace(parser, parsed) == options


def test_all_names_are_known_and_verbosity_is_last() -> None:
    names = ["days", "cmd", "url", "depth", "force", "names", "verbosity"]

    assert option_names(a_parser_with_subcommands(DAYS)) == names


def test_an_alias_chooses_a_subcommand() -> None:
    assert validate_options(a_parser_with_subcommands(), {"cmd": "get", "url": "x"}).cmd == "get"


def test_the_option_of_another_subcommand_is_rejected_with_the_valid_ones() -> None:
    with pytest.raises(OptionsError) as refusal:
        to_argv(a_parser_with_subcommands(), {"cmd": "drop", "depth": 1})

    known = "valid options are: cmd, force, names, verbosity"
    assert str(refusal.value) == f"depth: belongs to a different cmd; {known}"


def test_the_option_of_a_subcommand_is_rejected_if_none_is_chosen() -> None:
    with pytest.raises(OptionsError, match="depth: belongs to a different cmd"):
        to_argv(a_parser_with_subcommands(), {"depth": 1})


@pytest.mark.parametrize("name", ["burn", 7, ["drop"]])
def test_an_unknown_subcommand_is_rejected_with_the_known_ones(name: object) -> None:
    with pytest.raises(OptionsError, match="cmd: expected one of: fetch, get, drop; not"):
        to_argv(a_parser_with_subcommands(), {"cmd": name})


def test_subcommands_without_a_dest_are_rejected_with_the_reason() -> None:
    parser = a_parser_with_subcommands(DAYS, dest=SUPPRESS)

    assert option_names(parser) == ["days", "verbosity"]
    with pytest.raises(OptionsError, match=r"depth: .*add_subparsers\(\) was called without dest"):
        to_argv(parser, {"depth": 1})
    with pytest.raises(OptionsError, match=r"dayz: no such option"):
        to_argv(parser, {"dayz": 1})
    with pytest.raises(OptionsError, match=r"drop: .*add_subparsers\(\) was called without dest"):
        from_argv(parser, ["drop", "x"])


def test_the_message_of_a_subcommand_is_kept() -> None:
    with pytest.raises(OptionsError, match=r"^argument --depth: invalid int value: 'x'$"):
        validate_options(a_parser_with_subcommands(), {"cmd": "fetch", "url": "u", "depth": "x"})


def test_a_subcommand_does_not_exit_the_process(capsys: pytest.CaptureFixture[str]) -> None:
    parser = a_plain_parser()
    parser.add_subparsers(dest="cmd").add_parser("fetch").add_argument("url")

    with pytest.raises(OptionsError, match=r"^the following arguments are required: url$"):
        validate_options(parser, {"cmd": "fetch"})

    assert capsys.readouterr() == ("", "")


def test_another_option_keeps_a_list_from_consuming_the_subcommand() -> None:
    parser = a_parser_with_subcommands(DAYS, arg("--tags", nargs="+"))

    parsed = validate_options(parser, {"days": 2, "tags": ["a", "b"], "cmd": "drop", "force": True})

    assert (parsed.tags, parsed.cmd, parsed.force) == (["a", "b"], "drop", True)


def test_a_name_that_is_used_twice_goes_to_the_subcommand() -> None:
    parser = a_parser_with_subcommands(arg("--depth", type=int, default=9))

    assert to_argv(parser, {"cmd": "fetch", "url": "u", "depth": 2}) == ["fetch", "--depth=2", "u"]
    assert to_argv(parser, {"cmd": "drop", "depth": 2}) == ["--depth=2", "drop"]
    with pytest.raises(OptionsError, match="depth: must come after 'fetch', which also has this option"):
        from_argv(parser, ["--depth=2", "fetch", "u"])

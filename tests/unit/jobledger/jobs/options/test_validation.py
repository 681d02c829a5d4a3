"""Options are validated without any effect; what only a worker can know is left to it."""

import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, FileType, Namespace
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User

from jobledger.jobs.options import (
    OptionsError,
    from_argv,
    from_namespace,
    given_on_command_line,
    options_for_worker,
    to_argv,
    validate_options,
)
from jobledger.jobs.options.argument_list import parse
from tests.unit.jobledger.jobs.builders import a_job
from tests.unit.jobledger.jobs.options.parsers import Argument, AuthorsAction, a_parser, a_plain_parser, arg


def existing(text: str) -> str:
    if not os.path.exists(text):  # noqa: PTH110
        raise ArgumentTypeError(f"{text} does not exist")
    return text


def even(text: str) -> int:
    if int(text) % 2:
        raise ArgumentTypeError(f"{text} is odd")
    return int(text)


class Storing(AuthorsAction):
    def act(self, parser: ArgumentParser, namespace: Namespace, values: str | Sequence[Any] | None) -> None:
        setattr(namespace, self.dest, {"stored": values})


class Emptying(AuthorsAction):
    def act(self, parser: ArgumentParser, namespace: Namespace, values: str | Sequence[Any] | None) -> None:
        Path(str(values)).write_text("")


class Asking(AuthorsAction):
    def act(self, parser: ArgumentParser, namespace: Namespace, values: str | Sequence[Any] | None) -> None:
        parser.print_help()
        parser.error("not today")


class Slugs:
    """Choices that only a query could list."""

    def __contains__(self, value: object) -> bool:
        raise AssertionError("queried")

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("queried")


def emptied(text: str) -> str:
    Path(text).write_text("")
    return text


FILES = [
    arg("--file", type=FileType("w")),
    arg("--file", type=FileType("w"), nargs="+"),
    arg("--file", type=FileType("w"), action="append"),
    arg("file", type=FileType("w")),
    arg("file", type=FileType("w"), nargs="?", default="-"),
    arg("--file", type=partial(open, mode="w")),
    arg("--file", type=lambda text: open(text, "w")),  # noqa: SIM115, PTH123
    arg("--file", type=emptied),
    arg("--file", action=Emptying),
]


@pytest.fixture(params=FILES)
def file_option(request: pytest.FixtureRequest) -> Argument:
    argument: Argument = request.param
    return argument


def test_a_file_named_by_an_option_is_neither_emptied_nor_created(
    file_option: Argument, tmp_path: Path
) -> None:
    full = tmp_path / "full"
    full.write_text("kept")
    is_list = "nargs" in file_option.settings and file_option.settings["nargs"] == "+"
    takes_list = is_list or file_option.settings.get("action") == "append"
    for path in full, tmp_path / "new":
        options = {"file": [str(path)] if takes_list else str(path)}
        validate_options(a_parser(file_option), options)
        assert options_for_worker(a_parser(file_option), options).keys() == {"file"}
        parser = a_parser(file_option)
        assert from_argv(parser, to_argv(parser, options)) == options
    assert full.read_text() == "kept"
    assert not (tmp_path / "new").exists()


def test_a_default_that_is_a_file_is_not_opened_either(tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.write_text("kept")
    parser = a_parser(arg("--file", type=FileType("w"), default=str(full)))
    validate_options(parser, {})
    assert full.read_text() == "kept"


def test_the_files_of_a_subcommand_are_not_opened_either(tmp_path: Path) -> None:
    parser = a_parser()
    writing = parser.add_subparsers(dest="what").add_parser("write")
    writing.add_argument("file", type=FileType("w"))
    options = {"what": "write", "file": str(tmp_path / "new")}
    assert validate_options(parser, options).file == str(tmp_path / "new")
    assert options_for_worker(parser, options) == {"file": "it names a file of the worker"}
    assert not (tmp_path / "new").exists()


ONLY_IN_A_WORKER = [
    (arg("--x", type=FileType()), "it names a file of the worker"),
    (arg("--x", type=open), "it names a file of the worker"),
    (arg("--x", type=existing), "its type, existing, may depend on files or data of the worker"),
    (arg("--x", choices=Slugs(), metavar="SLUG"), "its choices are computed"),
    (arg("--x", choices=(each for each in "ab"), metavar="X"), "its choices are computed"),
    (arg("--x", action=Emptying), "its action, Emptying, may do more than store a value"),
]


@pytest.mark.parametrize(("argument", "why"), ONLY_IN_A_WORKER)
def test_a_value_that_only_a_worker_can_validate_is_accepted_with_the_reason(
    argument: Argument, why: str
) -> None:
    parser = a_parser(argument)
    assert validate_options(parser, {"x": "nowhere"}).x == "nowhere"
    assert options_for_worker(parser, {"x": "nowhere"}) == {"x": why}
    assert options_for_worker(parser, {}) == {}


@pytest.mark.parametrize(("argument", "why"), ONLY_IN_A_WORKER)
def test_the_shape_of_such_a_value_is_validated(argument: Argument, why: str) -> None:
    with pytest.raises(OptionsError, match="x: expected text or a number"):
        validate_options(a_parser(argument), {"x": {"not": "text"}})


def test_a_job_can_leave_an_option_to_its_worker() -> None:
    job = a_job(arg("--x", choices=["a"]), arg("--y", choices=["a"]), worker_options=["x"])
    assert validate_options(job.create_parser(), {"x": "b"}).x == "b"
    assert options_for_worker(job.create_parser(), {"x": "b", "y": "a"}) == {
        "x": "the job leaves it to its worker"
    }
    with pytest.raises(OptionsError, match="argument --y: invalid choice: 'b'"):
        validate_options(job.create_parser(), {"y": "b"})


@pytest.mark.django_db
def test_choices_from_the_database_are_left_to_the_worker() -> None:
    def build(parser: ArgumentParser) -> None:
        users = parser.add_argument("--user", choices=list(User.objects.values_list("username", flat=True)))
        users.metavar = "USER"

    parser = a_job(build=build).create_parser()
    assert validate_options(parser, {"user": "later"}).user == "later"
    assert options_for_worker(parser, {"user": "later", "verbosity": 2}) == {
        "user": "its choices come from the database"
    }
    with pytest.raises(OptionsError, match="argument -v/--verbosity: invalid choice"):
        validate_options(parser, {"verbosity": 9})


def test_required_options_and_exclusive_groups_are_validated_in_any_case() -> None:
    parser = a_parser(arg("--must", type=existing, required=True))
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--one", type=existing)
    group.add_argument("--two", type=existing)
    with pytest.raises(OptionsError, match="the following arguments are required: --must"):
        validate_options(parser, {"one": "a"})
    with pytest.raises(OptionsError, match="argument --two: not allowed with argument --one"):
        validate_options(parser, {"must": "a", "one": "b", "two": "c"})


def test_a_pure_type_and_action_of_the_author_are_called() -> None:
    parser = a_parser(arg("--x", type=even), arg("--y", action=Storing))
    assert validate_options(parser, {"x": 2, "y": "a"}).y == {"stored": "a"}
    with pytest.raises(OptionsError, match="argument --x: 3 is odd"):
        validate_options(parser, {"x": 3})


def test_a_registered_type_is_recognized(tmp_path: Path) -> None:
    parser = a_plain_parser()
    parser.register("type", "output", FileType("w"))
    parser.add_argument("--to", type="output")  # type: ignore[arg-type,unused-ignore]
    validate_options(parser, {"to": str(tmp_path / "new")})
    assert not (tmp_path / "new").exists()


def test_an_action_of_the_author_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OptionsError, match="not today"):
        validate_options(a_parser(arg("--x", action=Asking)), {"x": "a"})
    assert capsys.readouterr() == ("", "")


def test_a_missing_label_is_reported_as_djangos_parser_does() -> None:
    parser = a_parser(arg("args", nargs="+"))
    parser.missing_args_message = "Enter at least one label."
    with pytest.raises(OptionsError, match="Enter at least one label"):
        validate_options(parser, {})


# What is recorded of a command line


def parsed(parser: ArgumentParser, argv: Sequence[str]) -> dict[str, Any]:
    return vars(parse(parser, argv))


RECORDED: list[tuple[Callable[[Path], Argument], Callable[[Path], list[str]], Callable[[Path], Any]]] = [
    (lambda _: arg("--x", type=FileType("w")), lambda path: ["--x", f"{path}"], str),
    (lambda _: arg("--x", type=FileType("w")), lambda _: ["--x", "-"], lambda _: "-"),
    (lambda path: arg("--x", type=FileType("w"), default=f"{path}"), lambda _: [], lambda _: None),
    (lambda _: arg("--x", type=lambda text: {os.fspath(text)}), lambda _: ["--x=a"], lambda _: "a"),
    (lambda _: arg("--x", type=even), lambda _: ["--x=4"], lambda _: 4),
]


@pytest.mark.parametrize(("argument", "line", "recorded"), RECORDED)
def test_a_command_line_is_recorded_so_that_it_can_be_run_again(
    argument: Callable[[Path], Argument],
    line: Callable[[Path], list[str]],
    recorded: Callable[[Path], Any],
    tmp_path: Path,
) -> None:
    path = tmp_path / "file"
    parser, argv = a_parser(argument(path)), [*line(path), "--traceback", "--verbosity=1"]
    values = parsed(parser, argv)
    given = given_on_command_line(parser, argv, values)
    if isinstance(values["x"], TextIOWrapper) and values["x"] is not sys.stdout:
        values["x"].close()
    assert given.get("x") == recorded(path)
    assert given.keys() <= {"x"}


def test_a_file_that_a_caller_passes_is_recorded_by_its_name(tmp_path: Path) -> None:
    parser = a_parser(arg("--x", type=FileType("w"), default=str(tmp_path / "default")))
    with (tmp_path / "file").open("w") as file, (tmp_path / "default").open("w") as default:
        assert from_namespace(parser, {"x": file}) == {"x": str(tmp_path / "file")}
        assert from_namespace(parser, {"x": default}) == {}
    assert from_namespace(parser, {"x": even}) == {"x": str(even)}

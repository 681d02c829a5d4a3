"""``manage.py jobledger`` lists its subcommands, and delegates to them."""

import io
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
from django.core.management import CommandError, call_command, execute_from_command_line
from django.core.management.base import BaseCommand

import jobledger
from jobledger.management import subcommands
from jobledger.management.commands.jobledger import Command, load, names
from jobledger.models import Run
from jobledger.wrap import relay
from proj.state import BASE_DIR
from tests.unit.jobledger.admin.runs.ledger import create_run

NAMES = [
    *(
        "adopt",
        "backfill",
        "call",
        "cancel",
        "check",
        "create_token",
        "dead_letters",
        "export_crontab",
        "export_schedules",
        "export_systemd",
        "give_back",
        "import_crontab",
        "import_schedules",
        "next",
    ),
    *("pause", "resume", "retry", "runs", "setup", "show", "simulate", "startjob", "sync", "tokens", "wrap"),
]
NEXT = ["next", "--cron", "0 3 * * *", "--from", "2026-07-01", "--count", "1"]


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """No colours, even if the tests run in a terminal, and a terminal of the usual width."""
    monkeypatch.setenv("DJANGO_COLORS", "nocolor")
    monkeypatch.setenv("COLUMNS", "80")


def typed(*line: str, script: str = "./manage.py") -> int:
    """The exit code of a command line."""
    try:
        execute_from_command_line([script, "jobledger", *line])
    except SystemExit as exited:
        return int(exited.code or 0)
    return 0


def test_each_file_is_a_subcommand() -> None:
    folder = Path(next(iter(subcommands.__path__)))
    assert names() == sorted(path.stem for path in folder.glob("*/[!_]*.py")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_subcommand_is_a_django_command_with_a_short_summary(name: str) -> None:
    assert isinstance(load(name), BaseCommand)
    assert 10 < len(load(name).summary) < 68
    assert "." not in load(name).summary


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_lists_the_subcommands_with_a_line_each(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(flag) == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: manage.py jobledger [options] SUBCOMMAND ...\n")
    assert "  runs              List runs, newest first\n" in text
    listed = text.partition("subcommands:\n")[2].partition("\n\n")[0]
    assert [line.split()[0] for line in listed.splitlines()] == NAMES


def test_nobody_has_to_read_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        with pytest.raises(SystemExit) as end:
            execute_from_command_line(["manage.py", "jobledger", "--help"])
    assert end.value.code == 0


@pytest.mark.parametrize(
    ("typed_words", "passed_on"),
    [
        (["wrap", "--", "echo a; exit 4"], ["--", "echo a; exit 4"]),
        (["wrap", "--name", "x", "--", "echo", "--", "a"], ["--name", "x", "--", "echo", "--", "a"]),
        (["--settings=s", "wrap", "--", "echo"], ["--settings=s", "--", "echo"]),
        (["--", "wrap", "--", "echo"], ["--", "echo"]),
        (["wrap", "echo", "--ver"], ["echo", "--ver"]),
    ],
)
def test_what_follows_the_subcommand_is_left_as_it_is(typed_words: list[str], passed_on: list[str]) -> None:
    with patch.object(relay, "run") as run:
        Command().run_from_argv(["manage.py", "jobledger", *typed_words])
    assert run.call_args.args[0] == passed_on


@pytest.mark.django_db
def test_a_name_may_begin_with_a_dash() -> None:
    with pytest.raises(CommandError, match="There is no schedule '-x'"):
        call_command("jobledger", "next", "--", "-x")


def test_options_of_a_job_are_no_abbreviations_of_those_of_call() -> None:
    words = ["probe", "--ver", "1", "--", "-q"]
    assert load("call").create_parser("", "call").parse_args(["--wait", *words]).job == words


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_is_neither_read_nor_written(closed: str) -> None:
    line = f"{sys.executable} manage.py jobledger next --cron @daily --count 1 {closed}"
    done = subprocess.run(line, shell=True, cwd=BASE_DIR, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert bool(done.stdout) == (">&-" not in closed.replace("2>&-", ""))


def test_djangos_own_help_shows_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("--help") == 0
    shown = capsys.readouterr().out
    execute_from_command_line(["manage.py", "help", "jobledger"])
    assert capsys.readouterr().out == shown


def test_a_subcommands_help_is_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("runs", "--help") == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: manage.py jobledger runs [-h]")
    assert "--limit LIMIT" in text


def test_without_a_subcommand_it_prints_the_list_and_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert typed() == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "  simulate          Simulate" in captured.err
    assert typed("--no-color") == 2
    assert "the following arguments are required: SUBCOMMAND\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("rusn", "unknown subcommand 'rusn'; did you mean runs?"),
        ("resum", "unknown subcommand 'resum'; did you mean resume?"),
        ("frobnicate", f"unknown subcommand 'frobnicate'; choose one of {', '.join(NAMES)}"),
        ("__init__", "unknown subcommand '__init__'; "),
    ],
)
def test_a_mistyped_name_gets_suggestions(name: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(name) == 2
    assert hint in capsys.readouterr().err
    with pytest.raises(CommandError) as raised:
        call_command("jobledger", name)
    assert hint in str(raised.value)


def test_a_usage_error_names_the_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("next", "--count", "0") == 2
    assert "manage.py jobledger next: error: argument --count: '0' is not" in capsys.readouterr().err


def test_an_error_is_a_line_and_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("next", "--cron", "@dily") == 1
    assert capsys.readouterr().err.startswith("CommandError: --cron: the expression '@dily' is unknown")


@pytest.mark.parametrize("line", [["--traceback", "next"], ["next", "--traceback"]])
def test_traceback_works_before_and_after_the_subcommand(line: list[str]) -> None:
    with pytest.raises(CommandError):
        typed(*line, "--cron", "@dily")


def test_the_version_is_the_services(capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("--version") == typed("runs", "--version") == 0
    assert capsys.readouterr().out == f"{jobledger.__version__}\n" * 2


def test_call_command_passes_streams_and_arguments_on() -> None:
    stdout, stderr = io.StringIO(), io.StringIO()
    call_command("jobledger", *NEXT, "--tz", "UTC", stdout=stdout, stderr=stderr)
    assert (stdout.getvalue(), stderr.getvalue()) == ("2026-07-01T03:00:00+00:00\n", "")


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["--verbosity", "0"], {}),
        ([], {"verbosity": 0}),
        (["--verbosity", "3", "--no-color"], {"verbosity": 0}),
        ([], {"verbosity": 0, "no_color": True}),
    ],
)
def test_call_command_passes_djangos_options_on(
    arguments: list[str], options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    received: dict[str, object] = {}
    monkeypatch.setattr(type(load("next")), "handle", lambda self, *args, **options: received.update(options))
    call_command("jobledger", *NEXT, *arguments, **options)
    assert received["verbosity"] == 0
    assert received["no_color"] is ("--no-color" in arguments or "no_color" in options)
    assert received["cron"] == "0 3 * * *"


@pytest.mark.django_db
def test_a_subcommand_can_exit_with_its_own_code(monkeypatch: pytest.MonkeyPatch) -> None:
    run: Run = create_run(exit_code=4)
    assert typed("show", str(run.pk), "--follow") == 4


def test_the_console_script_is_named_once(capsys: pytest.CaptureFixture[str]) -> None:
    Command().run_from_argv(["jobledger", "jobledger", *NEXT])
    for line in ["--help"], ["runs", "--help"]:
        with pytest.raises(SystemExit):
            Command().run_from_argv(["jobledger", "jobledger", *line])
    text = capsys.readouterr().out
    assert "usage: jobledger [options] SUBCOMMAND ..." in text
    assert "usage: jobledger runs [-h]" in text


def test_only_the_requested_subcommand_is_imported() -> None:
    code = """
import sys, django
django.setup()
from jobledger.management.commands import jobledger
jobledger.load("runs")
print(*sorted(name for name in sys.modules if ".subcommands." in name or "simulation" in name))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=BASE_DIR,
        env={"DJANGO_SETTINGS_MODULE": "tests.settings"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [
        f"jobledger.management.subcommands.{name}" for name in ("runs", "runs.runs")
    ]

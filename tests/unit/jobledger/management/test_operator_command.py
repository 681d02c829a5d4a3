"""A database outage is reported to operators in a single line."""

import io
import os
import re
import sys
from collections.abc import Iterator
from typing import TextIO
from unittest.mock import patch
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError

from jobledger.management.commands.jobledger import load, names
from jobledger.management.operator_command import OperatorCommand
from jobledger.models import Run
from tests.unit.jobledger.admin.runs.ledger import create_run
from tests.unit.terminals import Terminal


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("connection refused", "The database cannot be queried: connection refused"),
        ("no such table: jobledger_run", "no such table: jobledger_run. Run `manage.py jobledger setup`."),
        ('relation "jobledger_run" does not exist', "Run `manage.py jobledger setup`."),
    ],
)
def test_a_database_outage_is_a_message(said: str, told: str) -> None:
    with (
        patch.object(Run.objects, "newest_first", side_effect=OperationalError(said)),
        pytest.raises(CommandError, match=told),
    ):
        call_command("jobledger", "runs")


@pytest.fixture
def unread() -> Iterator[TextIO]:
    """A pipe whose reader has closed it."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        yield stream


def test_a_reader_that_has_closed_the_pipe_is_no_error(unread: TextIO) -> None:
    command = OperatorCommand(stdout=unread)
    for _ in range(3):
        command.say("Created send_invoices.py")


def test_what_nobody_reads_on_stderr_is_no_error_either(unread: TextIO) -> None:
    command = OperatorCommand(stderr=unread)
    for _ in range(3):
        command.warn("Queues were not checked.")
        command.remark("Adopted 2 schedules.")


def test_an_interrupt_is_a_line_and_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with (
        patch.object(Run.objects, "newest_first", side_effect=KeyboardInterrupt),
        pytest.raises(SystemExit) as end,
    ):
        load("runs").run_from_argv(["manage.py jobledger", "runs"])
    assert end.value.code == 130
    assert capsys.readouterr().err == "Interrupted.\n"


@pytest.mark.django_db
def test_several_runs_of_an_ambiguous_id_are_listed_one_to_a_line() -> None:
    for number in range(2):
        create_run(pk=UUID(int=0x3F2A << 112 | number), job="a\nb")
    with pytest.raises(CommandError) as raised:
        call_command("jobledger", "show", "3f2a")
    first, *others = str(raised.value).splitlines()
    assert first == "'3f2a' is ambiguous; several runs match:"
    assert [line.split()[1] for line in others] == ["a\\nb", "a\\nb"]


NOT_UTF8 = b"caf\xe9".decode("utf-8", "surrogateescape")


@pytest.mark.django_db
@pytest.mark.every_database
@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (("pause", "--reason", NOT_UTF8), "“caf\\udce9” is not valid UTF-8"),
        (("runs", "--job", NOT_UTF8), "“caf\\udce9” is not valid UTF-8"),
        (("sync", "--reset", NOT_UTF8), "“caf\\udce9” is not valid UTF-8"),
        (("next", NOT_UTF8), "There is no schedule 'caf\\udce9'."),
        (("call", "probe", "--warn", NOT_UTF8), "probe: its options are not valid UTF-8"),
    ],
)
def test_what_a_terminal_of_another_encoding_sends_is_a_message(line: tuple[str, ...], problem: str) -> None:
    with pytest.raises(CommandError, match=re.escape(problem)):
        call_command("jobledger", *line)


@pytest.mark.parametrize("name", names())
def test_help_can_be_printed_on_a_terminal_of_another_encoding(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", screen)
    load(name).print_help("manage.py jobledger", name)
    screen.flush()
    assert b"usage: " in screen.buffer.getvalue()


def test_a_question_is_no_part_of_the_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    OperatorCommand().confirm("Delete 1 schedule (ni\x1bght)?", effect="", otherwise="")
    assert capsys.readouterr() == ("", "Delete 1 schedule (ni\\x1bght)? [y/N] ")

"""``find_user`` prints the user's address, or an error on stderr."""

import io

import pytest
from django.core.management import CommandError, call_command

from jobledger.models import Run, RunOutput
from tasks_app.management.commands.find_user import Command
from tests.unit.builders import make_user, output_of, run_for_slot, utc
from tests.unit.terminals import Terminal

pytestmark = pytest.mark.django_db


def test_a_user_is_found_by_id() -> None:
    user = make_user("zoë@example.com")
    assert output_of("find_user", str(user.pk)) == "Found: zoë@example.com\n"


@pytest.mark.every_database
@pytest.mark.parametrize("user_id", ["4711", "-5", "99999999999999999999999999"])
def test_an_unknown_user_is_one_line_on_stderr_and_exit_code_1(user_id: str) -> None:
    stdout, stderr = io.StringIO(), io.StringIO()
    with pytest.raises(SystemExit) as raised:
        call_command("find_user", user_id, stdout=stdout, stderr=stderr)
    assert raised.value.code == 1
    assert (stdout.getvalue(), stderr.getvalue()) == ("", f"User {user_id} not found.\n")


def test_on_a_terminal_the_line_is_red(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_COLORS", "error=red")
    terminal = Terminal()
    with pytest.raises(SystemExit):
        call_command(Command(stderr=terminal, force_color=True), "4711")
    assert terminal.getvalue() == "\x1b[31mUser 4711 not found.\n\x1b[0m"
    assert Run.objects.get().error == "User 4711 not found."


def test_a_run_that_finds_no_user_fails_with_the_reason() -> None:
    run = run_for_slot("find_user", utc(2026, 1, 1), user_id=4711)
    assert (run.status, run.exit_code, run.error) == ("failed", 1, "User 4711 not found.")
    assert RunOutput.objects.get(run=run).text == "User 4711 not found.\n"


def test_an_id_of_the_wrong_type_is_rejected_by_the_parser() -> None:
    with pytest.raises(CommandError, match="argument USER_ID: “anna” value must be an integer"):
        call_command("find_user", "anna")
    assert not Run.objects.exists()

"""``manage.py`` of a project."""

import gc
import os
import subprocess
import sys
from typing import Any

import pytest
from django.core.management.base import BaseCommand

from jobledger import management
from proj.state import BASE_DIR

pytestmark = pytest.mark.django_db


@pytest.fixture
def collecting(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether garbage is collected while the checks run, and while the command does."""
    found: list[bool] = []
    monkeypatch.setattr(BaseCommand, "check", lambda *_, **__: found.append(gc.isenabled()))

    def create_parser(command: BaseCommand, *args: Any, **kwargs: Any) -> Any:
        found.append(gc.isenabled())
        return original(command, *args, **kwargs)

    original = BaseCommand.create_parser
    monkeypatch.setattr(BaseCommand, "create_parser", create_parser)
    return found


def test_garbage_is_collected_once_the_command_is_loaded(collecting: list[bool]) -> None:
    management.execute_from_command_line(["manage.py", "clearsessions"])
    assert collecting
    assert all(collecting)


def test_garbage_is_collected_again_after_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        management.execute_from_command_line(["manage.py", "no_such_command"])
    assert gc.isenabled()
    assert "Unknown command: 'no_such_command'" in capsys.readouterr().err


def test_a_wrapped_line_runs_whatever_is_wrong_with_the_settings() -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "jobledger", "wrap", "--", "echo it runs; exit 4"],
        cwd=BASE_DIR,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "no.such.settings"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (4, "it runs\n", "")

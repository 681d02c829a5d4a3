"""Plain commands on the command line: with the service, they print and end as they do without it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.service import ROOT, Service
from tests.waiting import DEADLINE_SECONDS

MANAGE = """
import sys
from importlib import import_module
import_module(sys.argv.pop(1)).execute_from_command_line(sys.argv)
"""
WITHOUT, WITH = "django.core.management", "jobledger.management"


def end_of(running: Service, folder: Path, module: str, *arguments: str) -> tuple[int, str, str]:
    """The command's exit code, or its signal as a negative number, and what it prints."""
    script = folder / "manage.py"
    script.write_text(MANAGE)
    done = subprocess.run(
        [sys.executable, str(script), module, "plain_probe", *arguments],
        env={**running.environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("arguments", "exit_code", "end"),
    [
        (("--fail",), 1, ("failed", 1, "")),
        # The process that executes the command has no time to close its connection to the database.
        pytest.param(("--exit-hard", "3"), 3, ("failed", 3, ""), marks=pytest.mark.every_database),
        (("--exit-hard", "0"), 0, ("succeeded", 0, "")),
        pytest.param(("--signal", "15"), -15, ("failed", 143, "SIGTERM"), marks=pytest.mark.every_database),
        (("--signal", "1"), -1, ("failed", 129, "SIGHUP")),
        (("--signal", "2"), -2, ("cancelled", 130, "SIGINT")),
    ],
    ids=["error", "os._exit(3)", "os._exit(0)", "SIGTERM", "SIGHUP", "SIGINT"],
)
def test_it_prints_and_ends_as_without_the_service(
    running: Service,
    tmp_path: Path,
    arguments: tuple[str, ...],
    exit_code: int,
    end: tuple[str, int, str],
) -> None:
    without = end_of(running, tmp_path, WITHOUT, *arguments)
    assert without[0] == exit_code
    assert end_of(running, tmp_path, WITH, *arguments) == without
    (run,) = running.runs("--job", "plain_probe", "--limit", "1")
    assert (run["status"], run["exit_code"], run["exit_signal"] or "") == end

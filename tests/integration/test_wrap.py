"""Lines of a crontab behind ``jobledger wrap``, beside a running service."""

import shlex
import subprocess
import sys

import pytest

from tests.integration.command_line import from_command_line
from tests.integration.ledger import RunRow, output_of, run_rows
from tests.integration.service import ROOT, Service
from tests.waiting import DEADLINE_SECONDS, wait_until

pytestmark = pytest.mark.every_database

MANAGE = f"cd {shlex.quote(str(ROOT))} && {shlex.quote(sys.executable)} manage.py"


def runs_of_cron(running: Service, job: str) -> list[RunRow]:
    return run_rows(running, "job = ? AND trigger = 'cron'", job)


def test_a_job_on_the_line_is_recorded_once_whoever_starts_it(running: Service) -> None:
    # As behind sudo, without any variable but those that it needs.
    keep = [f"{name}={value}" for name, value in running.environment.items() if name != "PATH"]
    line = f"echo first; {MANAGE} probe out --warn wrapped; echo code $?"
    process = from_command_line(
        running, "jobledger", "wrap", "--", f"env -i {shlex.join(keep)} sh -c {shlex.quote(line)}"
    )
    stdout, stderr = process.communicate(timeout=DEADLINE_SECONDS)
    assert (process.returncode, stdout, stderr) == (0, "first\nout\ncode 0\n", "wrapped\n")
    of_line = "job = 'probe' AND trigger IN ('cron', 'cli') AND CAST(options AS TEXT) LIKE ?"
    (run,) = run_rows(running, of_line, "%wrapped%")
    assert (run.trigger, run.status) == ("cron", "succeeded")
    assert sorted(output_of(running, run.pk).splitlines()) == ["code 0", "first", "out", "wrapped"]


def test_a_line_whose_relay_is_killed_is_lost(running: Service) -> None:
    line = ("wrap", "--name", "killed", "--", "sh", "-c", "echo; read x")
    with from_command_line(running, "jobledger", *line, stdin=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == "\n"
        process.kill()
    (run,) = wait_until(lambda: [each for each in runs_of_cron(running, "killed") if each.status == "lost"])
    assert run.reason == "lost_process"

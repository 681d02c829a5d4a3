"""Jobs started from the command line, with ``manage.py``, next to a running service."""

import subprocess
import sys
from uuid import UUID

from tests.integration.ledger import run_rows, wait_for_start
from tests.integration.service import ROOT, Service
from tests.waiting import wait_until


def from_command_line(running: Service, *arguments: str, stdin: int | None = None) -> "subprocess.Popen[str]":
    """Start ``manage.py`` and do not wait for it."""
    return subprocess.Popen(
        (sys.executable, "manage.py", *arguments),
        cwd=ROOT,
        env=running.environment,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_from_command_line(running: Service, job: str) -> UUID:
    """The newest run of this job from the command line, once the job is working."""
    found = wait_until(
        lambda: run_rows(running, "job = ? AND trigger = 'cli' AND status = 'running'", job),
        what=f"{job} runs from the command line",
    )
    wait_for_start(running, found[-1].pk)
    return found[-1].pk


def newest_from_command_line(running: Service, job: str) -> UUID:
    """The last run of this job from the command line."""
    return run_rows(running, "job = ? AND trigger = 'cli'", job)[-1].pk


def short(pk: UUID) -> str:
    """The start of a run's id."""
    return str(pk)[:8]

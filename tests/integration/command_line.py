"""Jobs that somebody starts by hand, with ``manage.py``, beside a running service."""

import subprocess
import sys
from uuid import UUID

from tests.integration.ledger import run_rows, wait_for_start
from tests.integration.service import ROOT, Service
from tests.waiting import wait_until


def by_hand(running: Service, *arguments: str) -> "subprocess.Popen[str]":
    """Start ``manage.py`` and do not wait for it."""
    return subprocess.Popen(
        (sys.executable, "manage.py", *arguments),
        cwd=ROOT,
        env=running.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_by_hand(running: Service, job: str) -> UUID:
    """The newest run of this job that somebody started by hand, in the middle of its work."""
    found = wait_until(
        lambda: run_rows(running, "job = ? AND trigger = 'cli' AND status = 'running'", job),
        what=f"{job} runs by hand",
    )
    wait_for_start(running, found[-1].pk)
    return found[-1].pk


def newest_by_hand(running: Service, job: str) -> UUID:
    """The last run of this job that was started by hand."""
    return run_rows(running, "job = ? AND trigger = 'cli'", job)[-1].pk


def short(pk: UUID) -> str:
    """A run's id as people quote it."""
    return str(pk)[:8]

"""Starts jobs by schedules, in the admin and with ``manage.py``: executed in a service's console."""

import io
import os
import runpy
import sys
import tempfile
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connections
from django.test import Client
from django.urls import resolve, reverse
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from jobledger.admin.options.form import OptionsForm
from jobledger.jobs import registry
from tests.integration.service import ROOT
from tests.unit.jobledger.admin.options.browser import submitted_data

Options = dict[str, Any]
SIDE_BY_SIDE = 4


def schedule(schedules: Iterable[tuple[str, str, str]]) -> None:
    """Create schedules, each with a name, a job and options as text, that are due once, in a second."""
    every, _ = IntervalSchedule.objects.get_or_create(every=1, period=IntervalSchedule.SECONDS)
    for name, job, kwargs in schedules:
        task = registry.find(job).task_name
        PeriodicTask.objects.create(name=name, task=task, kwargs=kwargs, interval=every, one_off=True)


def unschedule(names: Iterable[str]) -> None:
    PeriodicTask.objects.filter(name__in=names).delete()


def post(jobs: Iterable[tuple[str, Options]]) -> list[str]:
    """Submit the form that starts a job, with these options filled in; returns the runs' ids."""
    users = get_user_model().objects
    client = Client(headers={"host": "localhost"})
    client.force_login(users.filter(username="starter").first() or users.create_superuser("starter"))
    return [_post(client, job, options) for job, options in jobs]


def _post(client: Client, job: str, options: Options) -> str:
    form = submitted_data(OptionsForm(registry.find(job), options))
    answer = client.post(
        reverse("admin:jobledger_job_run", args=[job]),
        form.urlencode(),
        content_type="application/x-www-form-urlencoded",
    )
    assert answer.status_code == 302, f"{job}: {answer.content.decode()}"
    return str(resolve(answer.headers["Location"]).kwargs["object_id"])


def manage(lines: Iterable[tuple[str, ...]]) -> list[tuple[int, int, str, str]]:
    """Execute ``manage.py``, once for each line, some side by side.

    Returns each one's process id and exit code, and what it has written.
    """
    # So that each of them need not import what the checks import.
    call_command("check", stdout=io.StringIO(), stderr=io.StringIO())
    connections.close_all()
    started: list[tuple[int, Path]] = []
    codes: list[int] = []
    with tempfile.TemporaryDirectory() as parent:
        for number, line in enumerate(lines):
            if number >= SIDE_BY_SIDE:
                codes.append(_exit_code(started[number - SIDE_BY_SIDE][0]))
            started.append(_forked(Path(parent) / str(number), line))
        codes += [_exit_code(pid) for pid, _ in started[len(codes) :]]
        return [(pid, code, *_written(folder)) for (pid, folder), code in zip(started, codes, strict=True)]


def _files(folder: Path) -> tuple[Path, Path]:
    """What a process writes to stdout and stderr."""
    return folder / "stdout", folder / "stderr"


def _written(folder: Path) -> tuple[str, str]:
    stdout, stderr = _files(folder)
    return stdout.read_text(), stderr.read_text()


def _forked(folder: Path, line: tuple[str, ...]) -> tuple[int, Path]:
    folder.mkdir()
    if (pid := os.fork()) == 0:
        os._exit(_manage(_files(folder), line))
    return pid, folder


def _exit_code(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _manage(files: Iterable[Path], line: tuple[str, ...]) -> int:
    """The exit code of a process whose standard streams are these files and an empty input."""
    for number, file in enumerate([Path(os.devnull), *files]):
        os.dup2(os.open(file, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), number)
    # They last as long as the process.
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", 1, closefd=False) for number in (1, 2))
    sys.argv = ["manage.py", *line]
    try:
        runpy.run_path(str(ROOT / "manage.py"), run_name="__main__")
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
            return 1
        return error.code or 0
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
        return 1
    return 0

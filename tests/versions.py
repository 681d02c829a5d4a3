"""Tries the service with other versions of what it needs, in a project that has nothing else."""

import subprocess
import sys
from pathlib import Path

from tests.adopter import EXECUTE_LINES, Adopter
from tests.waiting import DEADLINE_SECONDS

JOB = """
from jobledger import JobCommand

class Command(JobCommand):
    def add_arguments(self, parser):
        parser.add_argument("--day")

    def handle(self, *, day, **options):
        print("reporting", day)
"""
TASKS = """
from jobledger.jobs.functions import framework

task = framework().task

@task(priority=1)
def double(number, times=2):
    return number * times
"""
ENQUEUE = """
import logging
from uuid import UUID

from django.db import transaction
from jobledger.runs.execution import runner
from reports.tasks import double

logging.disable()  # Django logs what happens to tasks
with transaction.atomic():  # so that nothing is sent
    result = double.enqueue(21)
    runner.execute(UUID(result.id), worker="here")
    result.refresh()
    transaction.set_rollback(True)
assert (result.return_value, result.worker_ids) == (42, ["here"])
print("enqueued with", type(double).__module__)
"""
BACKEND = "TASKS = {'default': {'BACKEND': 'jobledger.django_tasks.JobledgerBackend'}}"
LINES = (
    "check --database default --fail-level WARNING",
    "makemigrations --check --dry-run",
    "migrate -v 0",
    "jobledger setup --admin",
    "report --day monday",
    "jobledger runs --json",
)
LOOK = """
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse

client = Client(SERVER_NAME="localhost")
client.force_login(get_user_model().objects.get())
for model in "jobledger_run", "django_celery_beat_periodictask":
    assert client.get(reverse(f"admin:{model}_changelist")).status_code == 200
assert client.get(reverse("admin:django_celery_beat_periodictask_add")).status_code == 200
"""


def install(target: Path, *arguments: str) -> None:
    """Install into the directory."""
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target", str(target))
    done = subprocess.run(
        [*pip, *arguments], capture_output=True, text=True, timeout=4 * DEADLINE_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr


def try_it(project: Adopter, framework: str = "") -> None:
    """Check, migrate, run a job, and look at it in the admin; with a framework for tasks, enqueue one."""
    commands = project.folder / "reports" / "management" / "commands"
    commands.mkdir(parents=True)
    (commands / "report.py").write_text(JOB)
    added, enqueue = ["INSTALLED_APPS += ['reports']"], ""
    if framework:
        (project.folder / "reports" / "tasks.py").write_text(TASKS)
        added, enqueue = [*added, BACKEND], ENQUEUE
    settings = project.add_settings("reporting", *added)
    done = project.execute("-c", EXECUTE_LINES + LOOK + enqueue, *LINES, settings=settings)
    assert (done.stderr, done.returncode) == ("", 0)
    assert "reporting monday\n" in done.stdout
    assert '"status": "succeeded"' in done.stdout
    assert framework in done.stdout

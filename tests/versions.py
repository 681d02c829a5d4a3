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


def try_it(project: Adopter) -> None:
    """Check, migrate, run a job, and look at it in the admin."""
    commands = project.folder / "reports" / "management" / "commands"
    commands.mkdir(parents=True)
    (commands / "report.py").write_text(JOB)
    settings = project.add_settings("reporting", "INSTALLED_APPS += ['reports']")
    done = project.execute("-c", EXECUTE_LINES + LOOK, *LINES, settings=settings)
    assert (done.stderr, done.returncode) == ("", 0)
    assert "reporting monday\n" in done.stdout
    assert '"status": "succeeded"' in done.stdout

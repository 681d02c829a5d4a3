"""The service works with the lowest versions that it claims to support, and with the newest Django.

The newest versions of everything else are what all other tests use. Only these tests check that the claimed
versions can be installed together, and that nothing of this project's own environment is needed.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.adopter import EXECUTE_LINES, Adopter
from tests.manual import ROOT
from tests.waiting import DEADLINE_SECONDS

pytestmark = pytest.mark.takes_long

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
import enum
import sys

from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse

if sys.version_info < (3, 12):
    # Django 6 asks for Python 3.12, in which this is no TypeError.
    contains = enum.EnumType.__contains__
    enum.EnumType.__contains__ = lambda kind, it: isinstance(it, enum.Enum) and contains(kind, it)

client = Client(SERVER_NAME="localhost")
client.force_login(get_user_model().objects.get())
for model in "jobledger_run", "django_celery_beat_periodictask":
    assert client.get(reverse(f"admin:{model}_changelist")).status_code == 200
assert client.get(reverse("admin:django_celery_beat_periodictask_add")).status_code == 200
"""


def install(target: Path, *arguments: str) -> None:
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target", str(target))
    done = subprocess.run(
        [*pip, *arguments], capture_output=True, text=True, timeout=4 * DEADLINE_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def lowest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the service, and the lowest versions of what it requires."""
    folder = tmp_path_factory.mktemp("lowest")
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    floors = [re.sub(r">=([\d.]+).*", r"==\1", each) for each in required]
    (folder / "floors.txt").write_text("\n".join(floors))
    install(folder, "--no-build-isolation", "--constraint", str(folder / "floors.txt"), str(ROOT))
    return folder


@pytest.fixture(scope="module")
def newest_django(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the newest Django that the service supports, whichever Python this is."""
    folder = tmp_path_factory.mktemp("django")
    install(folder, "--no-deps", "--ignore-requires-python", "Django>=6.0,<6.1")
    return folder


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


def test_the_lowest_versions_work_together(lowest: Path, tmp_path: Path) -> None:
    try_it(Adopter.isolated(tmp_path, lowest).adopt())


def test_the_newest_django_works(newest_django: Path, lowest: Path, tmp_path: Path) -> None:
    try_it(Adopter.isolated(tmp_path, newest_django, lowest).adopt())

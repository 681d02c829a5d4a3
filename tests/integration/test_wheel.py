"""The wheel contains only the service, and its console script works in other projects."""

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import jobledger
from proj.state import BASE_DIR
from tests.waiting import DEADLINE_SECONDS

pytestmark = pytest.mark.takes_long

SETTINGS = """
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.admin",
                  "django_celery_beat", "jobledger"]
SECRET_KEY = "only-for-tests"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
USE_TZ = True
"""
MANAGE_PY = 'import os\n\nos.environ.setdefault("DJANGO_SETTINGS_MODULE", "mine.settings")\n'
NEXT = ("next", "--cron", "0 3 * * *", "--tz", "UTC", "--from", "2026-07-01", "--count", "1")

Script = Callable[..., subprocess.CompletedProcess[str]]


def python(*arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", *arguments], check=True, capture_output=True, timeout=DEADLINE_SECONDS
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source distribution, so that this is known to be complete as well."""
    folder = tmp_path_factory.mktemp("dist")
    python("build", "--no-isolation", "--outdir", str(folder), str(BASE_DIR))
    assert (folder / f"django_jobledger-{jobledger.__version__}.tar.gz").exists()
    return folder / f"django_jobledger-{jobledger.__version__}-py3-none-any.whl"


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the wheel's content, without anything else from this repository."""
    target = tmp_path_factory.mktemp("target")
    python("pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(target), str(wheel))
    return target


@pytest.fixture
def script(installed: Path, tmp_path: Path) -> Script:
    """The console script, called in the directory of a project that consists of settings only."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "settings.py").write_text(SETTINGS)
    (tmp_path / "bare.py").write_text("SECRET_KEY = 'only-for-tests'\n")

    def call(*line: str, settings: str = "") -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(installed), "DJANGO_COLORS": "nocolor"}
        if settings:
            environment["DJANGO_SETTINGS_MODULE"] = settings
        return subprocess.run(
            [installed / "bin" / "jobledger", *line],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )

    return call


def sources() -> set[str]:
    """The service's files in this repository."""
    files = (path for path in (BASE_DIR / "jobledger").rglob("*") if path.is_file())
    return {str(path.relative_to(BASE_DIR)) for path in files if path.suffix != ".pyc"}


def test_the_wheel_contains_every_file_of_the_service_and_no_others(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    info = f"django_jobledger-{jobledger.__version__}.dist-info/"
    assert {name for name in names if not name.startswith(info)} == sources()
    assert f"{info}licenses/LICENSE" in names
    for path in "py.typed", "migrations/0001_initial.py", "static/jobledger/pages.css":
        assert f"jobledger/{path}" in names
    assert any(name.startswith("jobledger/templates/jobledger/") for name in names)


def test_the_installed_service_sets_up_a_projects_database(script: Script) -> None:
    done = script("setup", "--admin", settings="mine.settings")
    assert (done.stderr, done.returncode) == ("", 0)
    assert "Admin account: admin / " in done.stdout
    assert script("runs", "--json", settings="mine.settings").stdout == "[]\n"


def test_help_lists_the_subcommands(script: Script) -> None:
    done = script("--help", settings="mine.settings")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: jobledger [options] SUBCOMMAND ...\n")
    assert re.search(r"^  runs +List runs, newest first$", done.stdout, re.MULTILINE)


def test_settings_come_from_the_option_or_else_the_environment(script: Script) -> None:
    for done in script(*NEXT, settings="mine.settings"), script(*NEXT, "--settings=mine.settings"):
        assert (done.stdout, done.stderr, done.returncode) == ("2026-07-01T03:00:00+00:00\n", "", 0)
    assert script(*NEXT, "--settings=mine.settings", settings="bare").returncode == 0


def test_settings_otherwise_come_from_the_directorys_manage_py(script: Script, tmp_path: Path) -> None:
    (tmp_path / "manage.py").write_text(MANAGE_PY)
    done = script(*NEXT)
    assert (done.stdout, done.stderr, done.returncode) == ("2026-07-01T03:00:00+00:00\n", "", 0)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ("", "no Django settings found: set DJANGO_SETTINGS_MODULE, pass --settings, or change to the"),
        ("gone", "the settings module gone cannot be loaded: No module named 'gone'"),
        ("bare", "INSTALLED_APPS in bare does not include 'jobledger'"),
    ],
)
def test_without_usable_settings_it_is_one_line_and_exit_code_2(
    script: Script, settings: str, problem: str
) -> None:
    done = script("runs", settings=settings)
    assert (done.stdout, done.returncode) == ("", 2)
    assert done.stderr.startswith(f"jobledger: {problem}")
    assert done.stderr.count("\n") == 1

"""``manage.py`` works in a project that adopts the service, whatever is in its database and its settings."""

import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.adopter import Adopter

STOCK = "INSTALLED_APPS.remove('jobledger')"
STORED = """
    INSERT INTO django_celery_beat_intervalschedule (every, period) VALUES (1, 'days');
    INSERT INTO django_celery_beat_periodictask
        (name, task, args, kwargs, headers, description,
        enabled, one_off, total_run_count, date_changed, interval_id)
        VALUES ('old', 'mine.gone', '[]', '{}', '{}', '', 1, 0, 0, '2026-01-01', 1);
"""


@pytest.fixture(scope="module")
def adopter(tmp_path_factory: pytest.TempPathFactory) -> Adopter:
    """Its database has the tables of django-celery-beat with an enabled schedule, and none of ours."""
    made = Adopter.start(tmp_path_factory.mktemp("adopter")).adopt()
    stock = made.add_settings("stock", STOCK)
    assert well(made.manage("migrate -v 0", settings=stock)) == ""
    change(made.folder, STORED)
    return made


def change(folder: Path, statements: str) -> None:
    with closing(sqlite3.connect(folder / "db.sqlite3")) as connection:
        connection.executescript(statements)


def well(done: subprocess.CompletedProcess[str]) -> str:
    """What a process without errors has printed to stderr."""
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_a_database_of_the_stock_scheduler_is_migrated_and_then_checked(adopter: Adopter) -> None:
    done = adopter.manage("check --database default", "migrate -v 0")
    assert (done.stdout, well(done)) == ("System check identified no issues (0 silenced).\n", "")
    assert "jobledger.W010" in well(adopter.manage("check --database default"))


def test_a_database_of_an_older_version_can_be_checked_and_migrated(adopter: Adopter) -> None:
    well(adopter.manage("migrate -v 0"))
    change(adopter.folder, "ALTER TABLE jobledger_schedulepolicy RENAME COLUMN jitter TO old")
    try:
        assert well(adopter.manage("check --database default", "migrate -v 0")) == ""
    finally:
        change(adopter.folder, "ALTER TABLE jobledger_schedulepolicy RENAME COLUMN old TO jitter")


def test_a_project_with_other_defaults_makes_no_migration_of_the_service(adopter: Adopter) -> None:
    settings = adopter.add_settings(
        "other", "DEFAULT_AUTO_FIELD = 'django.db.models.AutoField'", "LANGUAGE_CODE = 'de'"
    )
    done = adopter.manage("makemigrations --check --dry-run jobledger", settings=settings)
    assert (done.stdout, well(done)) == ("No changes detected in app 'jobledger'\n", "")


def test_a_missing_app_is_named(adopter: Adopter) -> None:
    settings = adopter.add_settings("missing", "INSTALLED_APPS.remove('django_celery_beat')")
    done = adopter.manage("check", settings=settings)
    assert done.returncode == 1
    assert done.stderr.endswith(
        "INSTALLED_APPS contains 'jobledger', but not 'django_celery_beat'. Add it.\n"
    )


def test_the_project_is_checked(adopter: Adopter) -> None:
    settings = adopter.add_settings("checked", "JOBLEDGER = {'LEASE': 5}", "CELERY_RESULT_BACKEND = None")
    reported = well(adopter.manage("check", settings=settings))
    assert "jobledger.W012" in reported
    assert "jobledger.W017" in reported

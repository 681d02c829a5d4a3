"""``manage.py`` works in a project that adopts the service, whatever is in its database and its settings."""

import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.adopter import Adopter
from tests.manual import ADOPTING, blocks_of

pytestmark = pytest.mark.takes_long

PEOPLE = """
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.db import models

class People(BaseUserManager):
    def create_superuser(self, email, password):
        person = self.model(email=email, is_staff=True, is_superuser=True)
        person.set_password(password)
        person.save()
        return person

class Person(AbstractBaseUser, PermissionsMixin):
    email = models.EmailField(unique=True)
    is_staff = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)
    USERNAME_FIELD = "email"
    objects = People()
"""
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


def change(folder: Path, statements: str, database: str = "db.sqlite3") -> None:
    with closing(sqlite3.connect(folder / database)) as connection:
        connection.executescript(statements)


def well(done: subprocess.CompletedProcess[str]) -> str:
    """What a process without errors has printed to stderr."""
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_databases_of_the_stock_scheduler_and_of_an_older_version_are_checked_and_migrated(
    adopter: Adopter,
) -> None:
    done = adopter.manage("check --database default", "migrate -v 0")
    assert (done.stdout, well(done)) == ("System check identified no issues (0 silenced).\n", "")
    assert "jobledger.W010" in well(adopter.manage("check --database default"))
    change(adopter.folder, "ALTER TABLE jobledger_schedulepolicy RENAME COLUMN jitter TO old")
    try:
        assert well(adopter.manage("check --database default", "migrate -v 0")) == ""
    finally:
        change(adopter.folder, "ALTER TABLE jobledger_schedulepolicy RENAME COLUMN old TO jitter")


@pytest.fixture(scope="module")
def emails(adopter: Adopter) -> str:
    """Settings of a project with other defaults, whose users log in by e-mail address."""
    people = adopter.folder / "people"
    people.mkdir()
    (people / "__init__.py").touch()
    (people / "models.py").write_text(PEOPLE)
    return adopter.add_settings(
        "emails",
        "INSTALLED_APPS += ['people']",
        "AUTH_USER_MODEL = 'people.Person'",
        "DATABASES['default']['NAME'] = BASE_DIR / 'emails.sqlite3'",
        "DEFAULT_AUTO_FIELD = 'django.db.models.AutoField'",
        "LANGUAGE_CODE = 'de'",
    )


def test_a_project_with_other_defaults_makes_no_migration_of_the_service(
    adopter: Adopter, emails: str
) -> None:
    done = adopter.manage("makemigrations people -v 0", "makemigrations --check --dry-run", settings=emails)
    assert (done.stdout, well(done)) == ("No changes detected\n", "")


def test_an_admin_account_is_created_for_users_with_addresses(adopter: Adopter, emails: str) -> None:
    done = adopter.manage("makemigrations people -v 0", "jobledger setup --admin", settings=emails)
    assert well(done) == ""
    assert "Admin account: admin@localhost / " in done.stdout
    with closing(sqlite3.connect(adopter.folder / "emails.sqlite3")) as connection:
        assert connection.execute("SELECT email, is_superuser FROM people_person").fetchall() == [
            ("admin@localhost", 1)
        ]


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


def test_uninstalling_leaves_the_schedules_and_nothing_else(adopter: Adopter) -> None:
    database = "DATABASES['default']['NAME'] = BASE_DIR / 'leaving.sqlite3'"
    leaving = adopter.add_settings("leaving", database)
    left = adopter.add_settings("left", database, STOCK)
    file = adopter.folder / "leaving.sqlite3"
    assert well(adopter.manage("jobledger setup", settings=leaving)) == ""
    change(adopter.folder, STORED, file.name)
    done = adopter.manage("jobledger adopt", "jobledger give_back", settings=leaving)
    assert "old: every day, mine.gone\n  changes: it is broken" in done.stdout
    assert "Adopted 1 schedule." in well(done)
    assert "Schedules of jobs: 1. Delete them" in done.stdout
    well(adopter.manage("migrate jobledger zero -v 0", settings=leaving))
    well(adopter.manage("remove_stale_contenttypes --include-stale-apps --no-input -v 0", settings=left))
    with closing(sqlite3.connect(file)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master")]
        types = connection.execute("SELECT count(*) FROM django_content_type WHERE app_label = 'jobledger'")
        assert [name for name in tables if name.startswith("jobledger_")] == []
        assert types.fetchone() == (0,)
        names = connection.execute("SELECT name FROM django_celery_beat_periodictask ORDER BY name")
        assert names.fetchall() == [("old",), ("prune_runs",)]
    assert well(adopter.manage("check --database default", "migrate --check", settings=left)) == ""


def test_settings_may_be_in_no_package_and_their_apps_a_tuple(tmp_path: Path) -> None:
    project = Adopter.start(tmp_path)
    texts = {block.file: block.text for block in reversed([*blocks_of(ADOPTING)]) if block.is_a_file}
    (tmp_path / "celery_app.py").write_text(texts["mysite/celery.py"].replace("mysite.settings", "flat"))
    apps = "from mysite.settings import *\nINSTALLED_APPS = tuple(INSTALLED_APPS)\n"
    mode = "DATABASES['default']['OPTIONS'] = {'transaction_mode': 'IMMEDIATE'}\n"
    (tmp_path / "flat.py").write_text(apps + texts["mysite/settings.py"] + mode + "import celery_app\n")
    done = project.manage("check --fail-level WARNING", settings="flat")
    assert (done.stdout, well(done)) == ("System check identified no issues (0 silenced).\n", "")


MARIADB = """
from django.db.backends.sqlite3 import base

class DatabaseWrapper(base.DatabaseWrapper):
    vendor, display_name = "mysql", "MariaDB"
"""


@pytest.fixture(scope="module")
def unsupported(adopter: Adopter) -> str:
    """Settings with a database that says to be another."""
    (adopter.folder / "mariadb").mkdir()
    (adopter.folder / "mariadb" / "base.py").write_text(MARIADB)
    return adopter.add_settings("unsupported", "DATABASES['default']['ENGINE'] = 'mariadb'")


@pytest.mark.parametrize("line", ["django migrate", "celery -A mysite worker", "celery -A mysite beat"])
def test_nothing_starts_with_a_database_that_is_not_supported(
    adopter: Adopter, unsupported: str, line: str
) -> None:
    done = adopter.execute("-m", *line.split(), settings=unsupported)
    assert done.returncode == 1
    assert "The default database is MariaDB, which jobledger does not support." in done.stderr
    assert "Use PostgreSQL 14 to 18, or SQLite." in done.stderr

"""A worker or beat whose database is not migrated says so when it starts."""

import logging
from typing import Any

import pytest
from celery.utils.dispatch import Signal
from django.apps import apps
from django.db import OperationalError
from django.db.backends.utils import CursorWrapper
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from pytest_django import Settings

from jobledger.runs.service import pending_migrations


@pytest.fixture(params=["celeryd_after_setup", "beat_init"])
def signal(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Signal:
    """What Celery sends when a worker or beat starts, without its other receivers, which start threads."""
    signals = {name: Signal(name=name) for name in ("celeryd_after_setup", "beat_init")}
    for name, alone in signals.items():
        monkeypatch.setattr(pending_migrations, name, alone)
    pending_migrations.connect()
    return signals[request.param]


def starting(signal: Signal, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What a process logs when it starts."""
    with caplog.at_level(logging.INFO, logger=pending_migrations.__name__):
        signal.send(sender="mine", instance=None, conf=None)
    return [record.getMessage() for record in caplog.records if record.name == pending_migrations.__name__]


@pytest.mark.django_db
def test_nothing_is_said_of_a_database_that_is_migrated(
    signal: Signal, caplog: pytest.LogCaptureFixture
) -> None:
    assert starting(signal, caplog) == []


@pytest.mark.django_db
def test_no_migration_is_loaded_if_all_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MigrationLoader, "load_disk", lambda self: pytest.fail("loads all migrations"))
    assert pending_migrations.pending_migrations() == []


def test_the_files_of_migrations_are_those_that_django_would_load(settings: Settings) -> None:
    settings.MIGRATION_MODULES = {"sessions": None}
    found = {(app, name) for app in apps.app_configs for name in pending_migrations._migrations_of(app)}
    assert found == set(MigrationLoader(None).disk_migrations)


@pytest.mark.django_db
def test_what_is_missing_is_named(signal: Signal, caplog: pytest.LogCaptureFixture) -> None:
    MigrationRecorder.Migration.objects.filter(app="jobledger").delete()
    (line,) = starting(signal, caplog)
    assert line.startswith(
        "The database lacks migrations of this version: jobledger.0001_initial. Run manage.py"
    )


@pytest.mark.django_db
def test_of_many_only_some_are_named(signal: Signal, caplog: pytest.LogCaptureFixture) -> None:
    MigrationRecorder.Migration.objects.all().delete()
    (line,) = starting(signal, caplog)
    assert line.count("_initial") <= pending_migrations.MAX_NAMES
    assert " more. Run manage.py migrate" in line


@pytest.mark.django_db
def test_a_database_that_is_ahead_lacks_nothing(signal: Signal, caplog: pytest.LogCaptureFixture) -> None:
    MigrationRecorder.Migration.objects.create(app="jobledger", name="0099_future")
    assert starting(signal, caplog) == []


@pytest.mark.django_db
def test_a_process_starts_without_its_database(
    signal: Signal, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(CursorWrapper, "execute", refuse)
    assert starting(signal, caplog) == ["Cannot tell whether the database is migrated: gone"]

"""What a version promises to the ones before and after it, which may run beside it."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from celery.app.task import Context
from django.contrib.auth.models import User
from django.db import migrations, models
from django.db.migrations.operations.base import Operation
from django.test import Client
from django.utils import timezone

from jobledger import migrations as ours
from jobledger.models import Run, Trigger
from jobledger.runs.publishing.delivery import RUN_HEADER
from jobledger.runs.received import has_run
from jobledger.runs.worker.messages import envelope
from tests.manual import ROOT
from tests.unit.builders import output_of

# --- Migrations: the previous version reads and writes a database that is migrated for this one.

ADDITIONS = (migrations.CreateModel, migrations.AddIndex, migrations.AlterModelOptions)
CONTRACTIONS: set[str] = set()
"""Migrations that remove what no longer was in use in the release before."""


def is_compatible(operation: Operation) -> bool:
    """Whether code that does not know of the operation keeps working after it."""
    if isinstance(operation, migrations.AddField):
        field = operation.field
        return bool(field.null or field.has_db_default() or field.many_to_many)
    return isinstance(operation, ADDITIONS)


def added(**values: Any) -> Operation:
    return migrations.AddField("run", "x", models.CharField(max_length=5, **values))


@pytest.mark.parametrize("operation", [added(null=True), added(db_default="")], ids=["null", "db_default"])
def test_a_column_that_may_be_left_out_is_compatible(operation: Operation) -> None:
    assert is_compatible(operation)


@pytest.mark.parametrize(
    "operation",
    [
        # Django fills existing rows, and then removes the default from the database.
        added(default=""),
        migrations.RemoveField("run", "job"),
        migrations.RenameField("run", "job", "name"),
        migrations.AlterField("run", "job", models.CharField(max_length=5)),
        migrations.DeleteModel("run"),
        migrations.AddConstraint("run", models.CheckConstraint(condition=models.Q(job="x"), name="x")),
        migrations.RunSQL("SELECT 1"),
    ],
    ids=lambda operation: operation.describe(),
)
def test_what_older_code_could_trip_over_is_not(operation: Operation) -> None:
    assert not is_compatible(operation)


def incompatible() -> Iterator[str]:
    for path in sorted((ROOT / "jobledger" / "migrations").glob("0*.py")):
        migration = import_module(f"{ours.__name__}.{path.stem}").Migration
        if not migration.initial and path.stem not in CONTRACTIONS:
            yield from (
                f"{path.stem}: {each.describe()}" for each in migration.operations if not is_compatible(each)
            )


def test_every_migration_is_compatible_with_the_version_before() -> None:
    assert list(incompatible()) == []


# --- Rows: codes that a later version has written.

LATER = [
    {"status": "failed", "reason": "comet", "reason_details": {"tail": [1]}},
    {"status": "succeeded", "trigger": "satellite"},
]


@pytest.fixture(params=LATER, ids=["reason", "trigger"])
def later_run(request: pytest.FixtureRequest, db: None) -> Run:
    now = timezone.now()
    row = {"job": "probe", "trigger": Trigger.SCHEDULE, "error": "It was a comet.", **request.param}
    return Run.objects.create(queued_at=now, started_at=now, finished_at=now, **row)


def test_pages_show_a_run_with_a_code_of_a_later_version(later_run: Run, client: Client) -> None:
    client.force_login(User.objects.create_superuser("ann"))
    for path in ("/admin/", "/admin/jobledger/run/", f"/admin/jobledger/run/{later_run.pk}/change/"):
        assert client.get(path).status_code == 200


def test_commands_list_a_run_with_a_code_of_a_later_version(later_run: Run) -> None:
    for line in (["runs"], ["runs", "--json"], ["show", str(later_run.pk)]):
        assert str(later_run.pk)[:8] in output_of("jobledger", *line)


# --- Messages: those of a later version.


def test_a_message_with_headers_of_a_later_version_is_taken() -> None:
    later = {RUN_HEADER: {"version": 2}, "jobledger_origin": "satellite"}
    headers = {"task": "probes.probe", "id": "1", "lang": "py", **later}
    envelope.check_task(headers, b"", lambda: [[], {"unknown": 1}, {"callbacks": None, "later": {}}])
    assert has_run(Context({"id": "1", "headers": later}))

"""After a test with real transactions, the database is as Django's ``flush`` leaves it."""

import pytest
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.core.management.commands import flush
from django.db import connection

from jobledger.models import AlertRule
from tests.unit import emptying
from tests.unit.jobledger.schedules.builders import hourly

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.every_database]


def flushed() -> dict[str, int]:
    """How many rows each table has after the command."""
    call_command("flush", verbosity=0, interactive=False, reset_sequences=False)
    tables = connection.introspection.django_table_names(only_existing=True)
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(f"SELECT '{table}', count(*) FROM {table}" for table in tables))
        return dict(cursor.fetchall())


@pytest.fixture
def usual(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The rows that Django's own command leaves."""
    with monkeypatch.context() as patched:
        patched.setattr(flush.Command, "handle", emptying.DJANGOS)
        return flushed()


@pytest.mark.parametrize("large", [emptying.LARGE_BYTES, -1], ids=["small tables", "a large table"])
def test_the_same_rows_are_left(usual: dict[str, int], large: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emptying, "LARGE_BYTES", large)
    monkeypatch.setattr(flush.Command, "handle", emptying.flush_of_this_database())
    hourly("x")
    AlertRule.objects.create(name="Mine")
    assert usual["auth_permission"] > 0
    assert flushed() == usual


def test_content_types_and_permissions_stay() -> None:
    before = set(Permission.objects.values_list("pk", "content_type"))
    flushed()
    assert set(Permission.objects.values_list("pk", "content_type")) == before


def test_those_that_a_test_has_changed_are_created_again() -> None:
    of_runs = ContentType.objects.get(app_label="jobledger", model="run")
    Permission.objects.filter(content_type=of_runs).delete()
    Permission.objects.create(codename="odd", name="Odd", content_type=of_runs)
    flushed()
    names = Permission.objects.filter(content_type__model="run").values_list("codename", flat=True)
    assert "odd" not in names
    assert "view_run" in names

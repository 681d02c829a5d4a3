"""Empties the database after a test with real transactions, in a small part of the time that Django takes.

Django's ``flush`` truncates all tables, for each of which PostgreSQL creates a file, as for each of their
indexes, and then creates all content types and permissions again. Here, only the tables that contain rows are
emptied, and content types and permissions stay, unless a test has changed them.
"""

from collections.abc import Callable, Sequence

from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management.color import no_style
from django.core.management.commands import flush
from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models import Count, Max

from jobledger.alerts import default_rule

KEPT = (ContentType, Permission)
LARGE_BYTES = 1 << 20
"""Tables are truncated if one is larger: deleted rows of thousands would slow down the next tests."""
DJANGOS = flush.Command.handle


def flush_of_this_database() -> Callable[..., None]:
    """A ``handle`` for Django's command; content types and permissions should be as they are now."""
    names = connection.introspection.django_table_names(only_existing=True, include_views=False)
    tables = sorted({*names} - {model._meta.db_table for model in KEPT})
    before = _kept()

    def handle(command: flush.Command, **options: object) -> None:
        nonlocal before
        if options["database"] == DEFAULT_DB_ALIAS and _kept() == before:
            _empty(tables)
        else:
            DJANGOS(command, **options)
            before = _kept()

    return handle


def _kept() -> list[object]:
    return [model._default_manager.aggregate(Count("pk"), Max("pk")) for model in KEPT]


def _empty(tables: Sequence[str]) -> None:
    """Delete all rows of these tables, and create those that are there from the start."""
    connection.ops.execute_sql_flush(_statements(tables))
    default_rule.create()


def _statements(tables: Sequence[str]) -> list[str]:
    bytes_of = "pg_relation_size('{0}')" if connection.vendor == "postgresql" else "0"
    look = f"SELECT '{{0}}', {bytes_of}, EXISTS (SELECT 1 FROM {{0}})"
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(look.format(connection.ops.quote_name(table)) for table in tables))
        found = cursor.fetchall()
    if any(size > LARGE_BYTES for _, size, _ in found):
        truncating: list[str] = connection.ops.sql_flush(no_style(), tables)
        return truncating
    return [f"DELETE FROM {table}" for table, _, has_rows in found if has_rows]

"""Workers and beats that start before the database is migrated say so.

They need not be stopped: a statement that fails for want of a column counts as an outage, and is repeated.
But its error names only the column.
"""

import pkgutil
from importlib.util import find_spec

from celery.signals import beat_init, celeryd_after_setup
from django.apps import apps
from django.conf import settings
from django.db import Error, connections, router
from django.db.backends.base.base import BaseDatabaseWrapper

from jobledger.escapes import line_logger
from jobledger.models import Run
from jobledger.runs.processes.forks import close_connections

logger = line_logger(__name__)

MAX_NAMES = 5
WHAT_TO_DO = "Run manage.py migrate. What needs them waits until then"


def connect() -> None:
    """From now on, have workers and beats look when they start, before a worker has children."""
    celeryd_after_setup.connect(_starts, dispatch_uid="jobledger.pending_migrations.worker")
    beat_init.connect(_starts, dispatch_uid="jobledger.pending_migrations.beat")


def pending_migrations() -> list[str]:
    """Those that this code has and the database has not, such as ``jobledger.0002_more``."""
    connection = connections[router.db_for_write(Run)]
    if _has_all(connection):
        return []
    # Imported here, because all others do without.
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return [f"{migration.app_label}.{migration.name}" for migration, _ in plan]


def _has_all(connection: BaseDatabaseWrapper) -> bool:
    """Whether each migration is recorded as applied. If not, some may still be replaced by others.

    To load them all, as Django does to find out, would take 50 ms.
    """
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT app, name FROM django_migrations")
            applied = set(cursor.fetchall())
    except Error:  # MigrationExecutor knows whether the table is missing
        return False
    return applied.issuperset((app, name) for app in apps.app_configs for name in _migrations_of(app))


def _migrations_of(app_label: str) -> list[str]:
    """The names of the files, as Django's loader has them."""
    module = settings.MIGRATION_MODULES.get(app_label, f"{apps.get_app_config(app_label).name}.migrations")
    spec = find_spec(module) if module else None
    found = pkgutil.iter_modules(spec.submodule_search_locations) if spec else ()
    return [name for _, name, is_package in found if not is_package and name[0] not in "_~"]


def _starts(**kwargs: object) -> None:
    try:
        names = pending_migrations()
    except Error as error:
        logger.warning("Cannot tell whether the database is migrated: %s", error)
        return
    finally:
        close_connections()
    if names:
        more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
        listed = ", ".join(names[:MAX_NAMES]) + more
        logger.error("The database lacks migrations of this version: %s. %s", listed, WHAT_TO_DO)

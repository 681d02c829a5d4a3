"""Workers and beats that start before the database is migrated say so.

They need not be stopped: a statement that fails for want of a column counts as an outage, and is repeated.
But its error names only the column.
"""

from celery.signals import beat_init, celeryd_after_setup
from django.db import Error, connections, router

from jobledger.escapes import line_logger
from jobledger.models import Run
from jobledger.runs.execution.forks import close_connections

logger = line_logger(__name__)

MAX_NAMES = 5
WHAT_TO_DO = "Run manage.py migrate. What needs them waits until then"


def connect() -> None:
    """From now on, have workers and beats look when they start, before a worker has children."""
    celeryd_after_setup.connect(_starts, dispatch_uid="jobledger.pending_migrations.worker")
    beat_init.connect(_starts, dispatch_uid="jobledger.pending_migrations.beat")


def pending_migrations() -> list[str]:
    """Those that this code has and the database has not, such as ``jobledger.0002_more``."""
    # Imported here, because other processes do without.
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connections[router.db_for_write(Run)])
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return [f"{migration.app_label}.{migration.name}" for migration, _ in plan]


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

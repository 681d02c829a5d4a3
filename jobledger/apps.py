"""The service's app configuration, and that of its admin site."""

from typing import Any

from django.apps import AppConfig, apps
from django.contrib import admin
from django.contrib.admin import apps as admin_apps
from django.core.exceptions import ImproperlyConfigured

REQUIRED_APPS = ("django.contrib.contenttypes", "django.contrib.auth", "django_celery_beat")


class JobsConfig(AppConfig):
    default = True
    name = "jobledger"
    label = "jobledger"
    verbose_name = "Jobs"
    # Otherwise, `makemigrations` in a project with another default would add a migration to this package.
    default_auto_field = "django.db.models.BigAutoField"

    def import_models(self) -> None:
        """Raise ImproperlyConfigured if an app is missing, whose models this one's refer to."""
        missing = [name for name in REQUIRED_APPS if not apps.is_installed(name)]
        if missing:
            names = " and ".join(map(repr, missing))
            raise ImproperlyConfigured(f"INSTALLED_APPS contains 'jobledger', but not {names}. Add it.")
        super().import_models()

    def ready(self) -> None:
        """Register the system checks and the signal handlers. Raises ImproperlyConfigured."""
        from celery.signals import beat_embedded_init, beat_init, celeryd_init

        from jobledger import checks, conf
        from jobledger.alerts import default_rule
        from jobledger.runs.service import code_version, log_format, pending_migrations
        from jobledger.schedules import signals
        from jobledger.tracing import context

        conf.current()
        checks.connect()
        code_version.connect()
        pending_migrations.connect()
        log_format.connect()
        signals.connect()
        default_rule.connect()
        context.connect()
        celeryd_init.connect(_worker_starts, dispatch_uid="jobledger.worker")
        for signal in beat_init, beat_embedded_init:
            signal.connect(_beat_starts, dispatch_uid="jobledger.beat")


def _worker_starts(*, conf: Any, options: dict[str, Any], **kwargs: Any) -> None:
    """Connect what only a worker needs. Importing it would delay all other processes.

    What jobs need is imported here, too, since each of the worker's children would have to.
    """
    from jobledger.runs import ledger_connection
    from jobledger.runs.execution import terminal
    from jobledger.runs.output import reader, salvage
    from jobledger.runs.processes import announcements, process_group
    from jobledger.runs.service import presence
    from jobledger.runs.worker import abandoned, job_task, main_process, ordinary_runs, orphans, pools
    from jobledger.runs.worker.messages import dead_letters
    from jobledger.sentry import doubles
    from jobledger.tracing import context, spans

    context.leave_trace_of_start()
    spans.connect()
    doubles.connect()
    presence.watch_worker()
    ledger_connection.connect()
    terminal.connect()
    process_group.connect()
    orphans.connect()
    salvage.connect()
    reader.connect()
    announcements.connect()
    main_process.connect()
    abandoned.connect()
    pools.connect()
    dead_letters.connect()
    ordinary_runs.connect()
    job_task.load_urls(conf, options)
    # It imports what looks for the active span.
    context.active()


def _beat_starts(**kwargs: Any) -> None:
    from jobledger.alerts.sending import background
    from jobledger.sentry import doubles
    from jobledger.tracing import context

    doubles.connect()
    context.leave_trace_of_start()
    background.begin()


class JobsAdminConfig(admin_apps.AdminConfig):
    """Django's admin with the service's site; replaces ``django.contrib.admin`` in INSTALLED_APPS."""

    default = False
    default_site = "jobledger.admin_site.JobsAdminSite"

    def ready(self) -> None:
        """Import the apps' pages, as Django does; on the service's site, when they are needed."""
        from jobledger.admin_site import JobsAdminSite

        if isinstance(admin.site, JobsAdminSite):
            admin_apps.SimpleAdminConfig.ready(self)
            admin.site.discover_later(admin.autodiscover)
        else:
            super().ready()

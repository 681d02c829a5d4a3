"""The service: jobs, schedules and runs. Installed by itself it brings no sample tables."""

from django.apps import AppConfig
from django.contrib.admin import apps as admin


class JobsConfig(AppConfig):
    """The Django app."""

    default = True
    name = "jobledger"
    label = "jobledger"
    verbose_name = "Jobs"

    def ready(self) -> None:
        """Register the system checks, the worker's sign of life, and what follows edits of schedules."""
        from jobledger import checks  # noqa: F401 - importing registers the checks
        from jobledger.runs.worker import code_version, dead_letters, main_process, presence
        from jobledger.schedules import reconciliation

        code_version.connect()
        presence.watch_worker()
        main_process.connect()
        dead_letters.connect()
        reconciliation.connect()


class JobsAdminConfig(admin.AdminConfig):
    """Django's admin, with the service's site; replaces ``django.contrib.admin`` in INSTALLED_APPS."""

    default = False
    default_site = "jobledger.admin_site.JobsAdminSite"

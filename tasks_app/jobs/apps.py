"""The service: jobs, schedules and runs. Installed by itself it brings no sample tables."""

from django.apps import AppConfig
from django.contrib.admin import apps as admin


class JobsConfig(AppConfig):
    """The Django app ``jobs``."""

    default = True
    name = "tasks_app.jobs"
    label = "jobs"
    verbose_name = "Jobs"

    def ready(self) -> None:
        """Register the system checks, the worker's sign of life, and what follows edits of schedules."""
        from tasks_app.jobs import checks  # noqa: F401 - importing registers the checks
        from tasks_app.jobs.running import liveness, presence, worker
        from tasks_app.jobs.scheduling import following

        liveness.watch_worker()
        presence.watch_worker()
        worker.connect()
        following.connect()


class JobsAdminConfig(admin.AdminConfig):
    """Django's admin, with the service's site; stands for ``django.contrib.admin`` in INSTALLED_APPS."""

    default = False
    default_site = "tasks_app.jobs.admin_site.JobsAdminSite"

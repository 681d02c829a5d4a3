"""System checks: ``manage.py check`` reports mistakes before they matter at 03:00, each with its fix.

Almost all are warnings: an error would keep every command from running, including jobs from the command line.
"""

from django.core.checks import Tags, register

from jobledger.checks.jobs import check_jobs
from jobledger.checks.options import check_options
from jobledger.checks.project import check_project
from jobledger.checks.schedules import check_schedules


def connect() -> None:
    """Register the checks."""
    register(check_project)
    register(check_jobs)
    register(check_options)
    register(check_schedules, Tags.database)

"""System checks: ``manage.py check`` reports mistakes before they matter at 03:00, each with its fix.

Almost all are warnings: an error would keep every command from running, including jobs from the command line.
"""

import sys

from celery.signals import beat_init, worker_init
from django.core.checks import CheckMessage, Tags, register
from django.db import DEFAULT_DB_ALIAS

from jobledger.lazily import lazily

check_project = lazily("jobledger.checks.project.check_project")
check_links = lazily("jobledger.checks.project.check_links")
check_jobs = lazily("jobledger.checks.jobs.check_jobs")
check_options = lazily("jobledger.checks.options.check_options")
check_schedules = lazily("jobledger.checks.schedules.check_schedules")


def connect() -> None:
    """Register the checks, and keep workers and beat from starting if one of the project is an error."""
    register(check_project)
    register(check_jobs)
    register(check_options)
    register(check_links, Tags.urls)
    register(check_schedules, Tags.database)
    for signal in worker_init, beat_init:
        signal.connect(refuse_to_start, dispatch_uid="jobledger.checks.refuse_to_start")


def run_own_checks() -> list[CheckMessage]:
    """All messages, also silenced ones, including those about the database."""
    return [
        *check_project(),
        *check_jobs(),
        *check_options(),
        *check_links(),
        *check_schedules(databases=[DEFAULT_DB_ALIAS]),
    ]


def refuse_to_start(**kwargs: object) -> None:
    """Exit with code 1 and the errors, as ``manage.py`` does. Celery ignores what the checks find."""
    errors = [found for found in check_project() if found.is_serious() and not found.is_silenced()]
    if errors:
        sys.exit("\n".join(f"{error.msg} {error.hint}" for error in errors))

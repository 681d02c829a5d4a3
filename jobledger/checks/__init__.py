"""System checks: ``manage.py check`` reports mistakes before they matter at 03:00, each with its fix.

Almost all are warnings: an error would keep every command from running, including jobs from the command line.
"""

from jobledger.checks import jobs, project, schedules

__all__ = ["jobs", "project", "schedules"]

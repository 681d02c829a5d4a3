"""The admin: schedules are edited and runs are read here."""

from tasks_app.jobs.admin import runs, schedules

__all__ = ["runs", "schedules"]

"""The admin: schedules are edited and runs are read here."""

from django.contrib import admin

from tasks_app.jobs.admin import home, jobs, runs, schedules

__all__ = ["runs", "schedules"]

home.install(admin.site)
jobs.install(admin.site)

"""The admin: schedules are edited and runs are read here."""

from django.contrib import admin

from jobledger.admin.home.page import install as install_home
from jobledger.admin.jobs.views import install as install_jobs
from jobledger.admin.runs.admin import RunAdmin
from jobledger.admin.schedules.admin import ScheduleAdmin

__all__ = ["RunAdmin", "ScheduleAdmin"]

install_home(admin.site)
install_jobs(admin.site)

"""The admin: for editing schedules, starting jobs and viewing runs."""

from django.contrib import admin

from jobledger.admin.alerts.alerts import AlertAdmin
from jobledger.admin.alerts.destinations import DestinationAdmin
from jobledger.admin.alerts.rules import RuleAdmin
from jobledger.admin.dead_letters import DeadLetterAdmin
from jobledger.admin.home import page as home
from jobledger.admin.jobs import views as jobs
from jobledger.admin.runs.admin import RunAdmin
from jobledger.admin.schedules.admin import ScheduleAdmin
from jobledger.admin_site import JobsAdminSite

__all__ = [
    "AlertAdmin",
    "DeadLetterAdmin",
    "DestinationAdmin",
    "RuleAdmin",
    "RunAdmin",
    "ScheduleAdmin",
]

if isinstance(admin.site, JobsAdminSite):
    admin.site.home_context = home.context
    admin.site.page_urls = (home.urls, jobs.urls)

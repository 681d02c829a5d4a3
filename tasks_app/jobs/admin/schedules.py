"""Schedules in the admin: their list, what can be done to many at once, and the pages of each.

The rows that hold their times have no pages of their own: they are shared, and to delete one is to delete
every schedule that uses it. A schedule's times are edited on its page.
"""

from django.contrib import admin
from django_celery_beat.models import PeriodicTask

from tasks_app.jobs.admin.schedule_actions import ScheduleActions
from tasks_app.jobs.admin.schedule_deletion import ScheduleDeletion
from tasks_app.jobs.admin.schedule_list import ScheduleList
from tasks_app.jobs.admin.schedule_pages import SchedulePages
from tasks_app.jobs.scheduling import following


class ScheduleAdmin(SchedulePages, ScheduleActions, ScheduleDeletion, ScheduleList):
    """Where schedules are looked at, acted upon and edited."""


admin.site.unregister([PeriodicTask, *following.TIMES])
admin.site.register(PeriodicTask, ScheduleAdmin)

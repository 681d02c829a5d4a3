"""Users, schedules and runs for tests of the list."""

from datetime import timedelta
from typing import Any

from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.urls import reverse
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from jobledger.admin import rights
from jobledger.models import Run, Status, Trigger
from tests.unit.jobledger.schedules.builders import NOON

LIST = "admin:django_celery_beat_periodictask_changelist"


def member(client: Client, group: str) -> User:
    """Log the client in as a new member of the group."""
    rights.create_groups()
    user = User.objects.create(username="member", is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    client.force_login(user)
    return user


def run_of(schedule: PeriodicTask, *, minutes_ago: float = 0, seconds: float = 1, **values: Any) -> Run:
    """A run of the schedule that started this long before noon and took this long."""
    start = NOON - timedelta(minutes=minutes_ago)
    times = {"started_at": start, "finished_at": start + timedelta(seconds=seconds)}
    defaults = {"job": "probe", "trigger": Trigger.SCHEDULE, "status": Status.SUCCEEDED, "queued_at": start}
    return Run.objects.create(
        schedule=schedule, schedule_name=schedule.name, **{**defaults, **times, **values}
    )


def unreadable(schedule: PeriodicTask) -> PeriodicTask:
    """Give the schedule an unknown time zone, which is possible only with SQL."""
    crontab = CrontabSchedule.objects.create(minute="1")
    with connection.cursor() as cursor:
        sql = "UPDATE django_celery_beat_crontabschedule SET timezone = 'Mars/Olympus' WHERE id = %s"
        cursor.execute(sql, [crontab.pk])
    PeriodicTask.objects.filter(pk=schedule.pk).update(crontab=crontab)
    return schedule


def page(client: Client, **query: str) -> str:
    return client.get(reverse(LIST), query).text


def act(client: Client, action: str, *schedules: PeriodicTask, **more: str) -> Any:
    """Post the action for these schedules."""
    form = {"action": action, "_selected_action": [schedule.pk for schedule in schedules], **more}
    return client.post(reverse(LIST), form, follow=True)

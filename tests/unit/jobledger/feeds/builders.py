"""Makes users, feeds and schedules, and reads what is served."""

from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.test import RequestFactory
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from jobledger.admin import rights
from jobledger.feeds import addresses
from jobledger.models import Feed, FeedKind, NextSlot, Run, SchedulePolicy, Status, Trigger
from jobledger.schedules.due import ledger


def user(name: str = "ann", *, group: str = "Job viewers") -> Any:
    """The user with this name, who is made once."""
    rights.create_groups()
    values = {"email": f"{name}@example.com", "is_staff": True}
    made, _ = get_user_model()._default_manager.get_or_create(username=name, defaults=values)
    made.groups.set(Group.objects.filter(name=group))
    return made


def path_of(feed: Feed) -> str:
    request = RequestFactory().get("/", headers={"host": "localhost"})
    return addresses.address_of(feed, request).removeprefix("http://localhost")


def badge(**about: Any) -> Feed:
    return addresses.add(user(), FeedKind.BADGE, **about)


def calendar(**about: Any) -> Feed:
    return addresses.add(user(), FeedKind.CALENDAR, **about)


def cron(expression: str = "0 3 * * *", *, zone: str = "UTC", name: str = "nightly", **values: Any) -> Any:
    """An enabled schedule that beat knows."""
    names = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
    fields = dict(zip(names, expression.split(), strict=True))
    crontab = CrontabSchedule.objects.create(**fields, timezone=zone)
    policy = values.pop("policy", {})
    made = PeriodicTask.objects.create(
        name=name, crontab=crontab, **{"task": "probes.probe", "kwargs": "{}", **values}
    )
    SchedulePolicy.objects.update_or_create(schedule=made, defaults=policy)
    ledger.sync([made.pk], timezone.now())
    return made


def run(status: Status = Status.SUCCEEDED, **values: Any) -> Run:
    now = timezone.now()
    times = {"queued_at": now, "started_at": now - timedelta(minutes=5), "finished_at": now}
    return Run.objects.create(
        **{"job": "probe", "trigger": Trigger.SCHEDULE, "status": status, **times, **values}
    )


def due_at(schedule: PeriodicTask, time: Any) -> None:
    NextSlot.objects.filter(pk=schedule.pk).update(due_at=time)

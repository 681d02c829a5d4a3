"""Schedules as django-celery-beat's own scheduler has left them: without policies, next slots and signals."""

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask

from jobledger.schedules.stored_times import CRONTAB_FIELDS
from tests.unit.jobledger.schedules.builders import NOON

CREATED = NOON - timedelta(days=100)


def stock_cron(expression: str, name: str = "stock", *, zone: str = "UTC", **values: Any) -> PeriodicTask:
    fields = dict(zip(CRONTAB_FIELDS, expression.split(), strict=True))
    crontab = CrontabSchedule.objects.create(**fields, timezone=ZoneInfo(zone))
    return _stored(name, crontab=crontab, **values)


def stock_interval(every: int, period: str, name: str = "stock", **values: Any) -> PeriodicTask:
    return _stored(name, interval=IntervalSchedule.objects.create(every=every, period=period), **values)


def stock_clocked(at: datetime, name: str = "stock", **values: Any) -> PeriodicTask:
    clocked = ClockedSchedule.objects.create(clocked_time=at)
    return _stored(name, clocked=clocked, one_off=True, **values)


def _stored(name: str, *, created: datetime = CREATED, **values: Any) -> PeriodicTask:
    stored = PeriodicTask(**{"name": name, "task": "probes.probe", **values})
    PeriodicTask.objects.bulk_create([stored])
    PeriodicTask.objects.filter(name=name).update(date_changed=created)
    return PeriodicTask.objects.get(name=name)

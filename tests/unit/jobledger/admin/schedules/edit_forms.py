"""Opens, fills in and saves the page of a schedule, like a browser without JavaScript."""

from typing import Any

from django.test import Client
from django.urls import reverse
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from tests.unit.jobledger.admin.html_forms import HtmlForm, form_in

ADD = "/admin/django_celery_beat/periodictask/add/"
LIST = "/admin/django_celery_beat/periodictask/"
NIGHTLY = {"name": "nightly", "times__cron": "30 3 * * 1-5", "times__zone": "Europe/London"}


def change_url(schedule: PeriodicTask) -> str:
    return reverse("admin:django_celery_beat_periodictask_change", args=[schedule.pk])


def page_url(name: str, schedule: PeriodicTask) -> str:
    return reverse(f"admin:django_celery_beat_periodictask_{name}", args=[schedule.pk])


def edit_form(client: Client, url: str) -> HtmlForm:
    return form_in(client.get(url).text, "edit-form")


def add(client: Client, job: str = "probe", **changes: Any) -> Any:
    """Open the page for a new schedule, fill it in and save it."""
    url = f"{ADD}?job={job}"
    return client.post(url, edit_form(client, url).after(**{**NIGHTLY, **changes}))


def edit(client: Client, schedule: PeriodicTask, **changes: Any) -> Any:
    """Open the page of a schedule, make these changes and save it."""
    url = change_url(schedule)
    return client.post(url, edit_form(client, url).after(**changes))


def create_hourly(**values: Any) -> PeriodicTask:
    """An hourly schedule of the job ``probe``."""
    hourly = IntervalSchedule.objects.create(every=1, period="hours")
    fields = {"name": "mine", "task": "probes.probe", "kwargs": '{"level": 2}', **values}
    return PeriodicTask.objects.create(interval=hourly, **fields)

"""Schedules in the admin: django-celery-beat's pages, where a job's own parser judges its options."""

import json
from typing import Any

from django.contrib import admin
from django.utils.translation import gettext_lazy as _
from django_celery_beat.admin import PeriodicTaskForm
from django_celery_beat.models import PeriodicTask

from tasks_app.jobs.admin.schedule_actions import ScheduleActions
from tasks_app.jobs.admin.schedule_list import ScheduleList
from tasks_app.jobs.defining import arguments, registry, secrets
from tasks_app.jobs.models import SchedulePolicy


class ScheduleForm(PeriodicTaskForm):  # type: ignore[misc]  # django-celery-beat has no types
    """A schedule of a job is saved only with options that the job takes."""

    def clean(self) -> dict[str, Any]:
        """Judge the options where the task is a job; what is wrong stands beside the field."""
        data: dict[str, Any] = super().clean()
        job = _job_of(data.get("task", ""))
        if job is None or "kwargs" in self.errors or "args" in self.errors:
            return data
        if json.loads(data.get("args") or "[]"):
            self.add_error("args", _("A job takes its options by name: put them into the keyword arguments."))
        if refusal := _refusal(job, data.get("kwargs")):
            self.add_error("kwargs", refusal)
        return data


def _refusal(job: registry.Job, text: str | None) -> str:
    """Why the job does not take these options, secrets masked; empty when it does."""
    options: dict[str, Any] = {}
    try:
        options = _options(text)
        arguments.parse(job.create_parser(), options)
    except arguments.OptionsError as error:
        return secrets.without_secrets(job.name, options, str(error))
    return ""


def _options(text: str | None) -> dict[str, Any]:
    options = json.loads(text or "{}")
    if not isinstance(options, dict):
        raise arguments.OptionsError('the options are a JSON object, for example {"days": 7}')
    return options


def _job_of(task: str) -> registry.Job | None:
    try:
        job = registry.find(task)
    except registry.UnknownJobError:
        return None
    return job if task == job.task_name else None


class PolicyInline(admin.StackedInline):  # type: ignore[type-arg]  # generic for the type checker alone
    """The choices about slots that cannot start on time."""

    model = SchedulePolicy
    can_delete = False


class ScheduleAdmin(ScheduleActions, ScheduleList):
    """Where schedules are looked at, acted upon and edited."""

    form = ScheduleForm
    inlines = (PolicyInline,)


admin.site.unregister(PeriodicTask)
admin.site.register(PeriodicTask, ScheduleAdmin)

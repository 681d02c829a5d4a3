"""Schedules in the admin: django-celery-beat's pages, where a job's own parser judges its options."""

import json
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from django_celery_beat.admin import PeriodicTaskAdmin, PeriodicTaskForm
from django_celery_beat.models import PeriodicTask

from tasks_app.jobs.defining import arguments, registry, secrets
from tasks_app.jobs.models import SchedulePolicy, Trigger
from tasks_app.jobs.running import dispatch
from tasks_app.jobs.scheduling import ledger


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


class ScheduleAdmin(PeriodicTaskAdmin):  # type: ignore[misc]  # django-celery-beat has no types
    """django-celery-beat's admin; "Run selected tasks" makes runs that say who asked for them."""

    form = ScheduleForm
    inlines = (PolicyInline,)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Without django-celery-beat's warning, which knows no scheduler but its own."""
        return admin.ModelAdmin.changelist_view(self, request, extra_context)

    @admin.action(description=_("Switch off selected schedules"), permissions=["change"])
    def disable_tasks(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        """Switch off, and keep when each last ran."""
        self._switch(request, queryset, enabled=False)

    @admin.action(description=_("Switch on selected schedules"), permissions=["change"])
    def enable_tasks(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        """Switch on; each counts from now."""
        self._switch(request, queryset, enabled=True)

    @admin.action(description=_("Toggle selected schedules"), permissions=["change"])
    def toggle_tasks(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        """Switch each to the other state."""
        on = list(queryset.filter(enabled=True).values_list("pk", flat=True))
        self._switch(request, queryset.exclude(pk__in=on), enabled=True)
        self._switch(request, queryset.filter(pk__in=on), enabled=False)

    def _switch(self, request: HttpRequest, queryset: QuerySet[PeriodicTask], *, enabled: bool) -> None:
        schedule_ids = list(queryset.values_list("pk", flat=True))
        count = PeriodicTask.objects.filter(pk__in=schedule_ids).update(enabled=enabled)
        ledger.follow(schedule_ids, timezone.now())
        if count:
            state = _("on") if enabled else _("off")
            self.message_user(request, _("Switched %(state)s: %(count)d.") % {"state": state, "count": count})

    @admin.action(description=_("Run selected schedules now"), permissions=["change"])
    def run_tasks(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        """Start each one's job now; an ordinary Celery task is sent as django-celery-beat does."""
        started, ordinary = [], []
        for schedule in queryset:
            job = _job_of(schedule.task)
            if job is None:
                ordinary.append(schedule.pk)
                continue
            started.append(dispatch.enqueue(_by_hand(request, schedule, job)))
        if started:
            text = ngettext("%d run was started.", "%d runs were started.", len(started)) % len(started)
            self.message_user(request, text, messages.SUCCESS)
        if ordinary:
            super().run_tasks(request, queryset.filter(pk__in=ordinary))


def _by_hand(request: HttpRequest, schedule: PeriodicTask, job: registry.Job) -> dispatch.RunRequest:
    return dispatch.RunRequest(
        job=job.name,
        options=_options(schedule.kwargs),
        trigger=Trigger.ADMIN,
        who=request.user.get_username(),
        user_id=request.user.pk,
        schedule_id=schedule.pk,
        schedule_name=schedule.name,
    )


admin.site.unregister(PeriodicTask)
admin.site.register(PeriodicTask, ScheduleAdmin)

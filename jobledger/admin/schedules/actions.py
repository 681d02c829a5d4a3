"""What is done with the selected schedules: run now, pause, resume, switch on and off.

Each needs a permission of its own, changes what it changes in one transaction, and leaves an entry in the
history of every schedule that it changed. A pause, and starting more than a few, are confirmed on a page of
their own first: it comes back as the same action with its answers.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django_celery_beat.admin import PeriodicTaskAdmin
from django_celery_beat.models import PeriodicTask, PeriodicTasks

from jobledger.admin import audit_log, pauses, rights
from jobledger.admin.pauses import PauseForm
from jobledger.models import Run, Trigger
from jobledger.runs import dispatch
from jobledger.schedules import ledger, pausing, slot_runs
from jobledger.schedules.slot_runs import BrokenScheduleError

STARTED_AT_ONCE = 10
"""More than so many are started only when that was confirmed."""
STARTED_AT_MOST = 100
NAMES_SHOWN = 10
CONFIRMED = "confirmed"


class ScheduleActions(PeriodicTaskAdmin):  # type: ignore[misc]  # django-celery-beat has no types
    """The actions of the list."""

    actions = ("run_tasks", "pause_schedules", "resume_schedules", "enable_tasks", "disable_tasks")

    def has_start_permission(self, request: HttpRequest) -> bool:
        """Whether there is a job that the user may start; which ones is looked at one by one."""
        return rights.may_start_any(request.user)

    def has_pause_permission(self, request: HttpRequest) -> bool:
        """Whether the user may pause and resume."""
        return rights.may_pause(request.user)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Deleting comes last."""
        actions: dict[str, Any] = super().get_actions(request)
        if delete := actions.pop("delete_selected", None):
            actions["delete_selected"] = (*delete[:2], "Delete…")
        return actions

    @admin.action(description="Run now", permissions=["start"])
    def run_tasks(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> HttpResponse | None:
        """Start what each of them starts, now, whether it is on, paused or neither."""
        count = queryset.count()
        if count > STARTED_AT_MOST:
            self.message_user(
                request,
                f"Nothing was started: {count} are selected, and {STARTED_AT_MOST} may be started at once.",
                messages.ERROR,
            )
            return None
        schedules = list(queryset)
        if len(schedules) > STARTED_AT_ONCE and CONFIRMED not in request.POST:
            return self._ask(request, "run_tasks", schedules)
        self._start(request, schedules)
        return None

    @admin.action(description="Pause…", permissions=["pause"])
    def pause_schedules(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> HttpResponse | None:
        """Ask how long and why; then nothing of them starts by itself."""
        now, schedules = timezone.now(), list(queryset)
        form = PauseForm(request.POST if CONFIRMED in request.POST else None, now=now)
        if not form.is_valid():
            return self._ask(request, "pause_schedules", schedules, form=form)
        self._pause(request, schedules, form, now)
        return None

    @admin.action(description="Resume", permissions=["pause"])
    @transaction.atomic
    def resume_schedules(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        """End the pauses of the schedules themselves."""
        now, schedules = timezone.now(), list(queryset)
        resumed_ids = pausing.resume_all([schedule.pk for schedule in schedules], now=now)
        resumed = [schedule for schedule in schedules if schedule.pk in resumed_ids]
        audit_log.noted(request.user, resumed, "Resumed.")
        self._say(request, "Resumed", resumed, none="None of them was paused by itself.")
        if pausing.in_force(None, now).exists():
            said = "But the whole service is paused: nothing starts by itself until that is lifted."
            self.message_user(request, said, messages.WARNING)

    @admin.action(description="Switch on", permissions=["change"])
    def enable_tasks(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        """Switch on; each counts from now."""
        self._switch(request, queryset, enabled=True)

    @admin.action(description="Switch off", permissions=["change"])
    def disable_tasks(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        """Switch off, and keep when each last ran."""
        self._switch(request, queryset, enabled=False)

    @transaction.atomic
    def _switch(self, request: HttpRequest, queryset: QuerySet[PeriodicTask], *, enabled: bool) -> None:
        changed = list(queryset.exclude(enabled=enabled))
        ids = [schedule.pk for schedule in changed]
        PeriodicTask.objects.filter(pk__in=ids).update(enabled=enabled)
        # For django-celery-beat's own scheduler, which may be the one that runs.
        PeriodicTasks.update_changed()
        ledger.follow(ids, timezone.now())
        audit_log.noted(request.user, changed, "Switched on." if enabled else "Switched off.")
        done, already = (
            ("Switched on", "They were on already.")
            if enabled
            else ("Switched off", "They were off already.")
        )
        self._say(request, done, changed, none=already)

    @transaction.atomic
    def _pause(
        self, request: HttpRequest, schedules: Sequence[PeriodicTask], form: PauseForm, now: datetime
    ) -> None:
        terms = form.terms(request.user)
        pausing.pause_all([schedule.pk for schedule in schedules], terms, now=now)
        how = pauses.told(terms.until, reason=terms.reason)
        audit_log.noted(request.user, schedules, f"Paused {how}.")
        self._say(request, "Paused", schedules)

    def _start(self, request: HttpRequest, schedules: Sequence[PeriodicTask]) -> None:
        started: list[Run] = []
        forbidden: list[PeriodicTask] = []
        broken: list[PeriodicTask] = []
        with transaction.atomic():
            for schedule in schedules:
                try:
                    work = slot_runs.work_of(schedule)
                except BrokenScheduleError:
                    broken.append(schedule)
                    continue
                if not rights.may_start(request.user, work.job):
                    forbidden.append(schedule)
                    continue
                started.append(dispatch.enqueue(_by_hand(request, schedule, work)))
                audit_log.noted(request.user, [schedule], f"Run now: run {started[-1].pk}.")
        self._tell_started(request, started)
        self._tell_left_out(request, "Not started, since you may not start their jobs", forbidden)
        self._tell_left_out(request, "Not started, since they are broken", broken)

    def _tell_started(self, request: HttpRequest, started: Sequence[Run]) -> None:
        if len(started) == 1:
            address = reverse("admin:jobledger_run_change", args=[started[0].pk])
            text = format_html(
                '{}: <a href="{}">{}</a>.', "A run was started", address, started[0].schedule_name
            )
            self.message_user(request, text, messages.SUCCESS)
        elif started:
            self.message_user(request, f"{len(started)} runs were started.", messages.SUCCESS)

    def _tell_left_out(self, request: HttpRequest, why: Any, schedules: Sequence[PeriodicTask]) -> None:
        if schedules:
            self.message_user(request, f"{why}: {_names(schedules)}.", messages.ERROR)

    def _say(
        self, request: HttpRequest, done: Any, schedules: Sequence[PeriodicTask], *, none: Any = ""
    ) -> None:
        text = f"{done}: {_names(schedules)}." if schedules else none
        self.message_user(request, text, messages.SUCCESS if schedules else messages.WARNING)

    def _ask(
        self,
        request: HttpRequest,
        action: str,
        schedules: Sequence[PeriodicTask],
        *,
        form: forms.Form | None = None,
    ) -> HttpResponse:
        """A page that asks before the action is carried out; it is sent to the list's own address."""
        is_across = request.POST.get("select_across") == "1"
        verb = str(self.get_actions(request)[action][2]).rstrip("…")
        context = {
            **self.admin_site.each_context(request),
            "title": f"{verb}: {_counted(schedules)}",
            "step": verb,
            "action": action,
            "form": form,
            "schedules": schedules[:NAMES_SHOWN],
            "more": max(len(schedules) - NAMES_SHOWN, 0),
            # Where all are meant, naming each of thousands would be too much for a form.
            "selected": schedules[:1] if is_across else schedules,
            "is_across": is_across,
            "checkbox": helpers.ACTION_CHECKBOX_NAME,
            "confirmed": CONFIRMED,
        }
        return TemplateResponse(request, "jobledger/schedules/action.html", context)


def _by_hand(request: HttpRequest, schedule: PeriodicTask, work: slot_runs.Work) -> dispatch.RunRequest:
    return dispatch.RunRequest(
        job=work.job,
        options=work.options,
        args=work.args,
        trigger=Trigger.ADMIN,
        who=request.user.get_username(),
        user_id=request.user.pk,
        schedule_id=schedule.pk,
        schedule_name=schedule.name,
    )


def _counted(schedules: Sequence[PeriodicTask]) -> str:
    return "1 schedule" if len(schedules) == 1 else f"{len(schedules)} schedules"


def _names(schedules: Sequence[PeriodicTask]) -> str:
    names = [schedule.name for schedule in schedules]
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more

"""The page that starts a backfill: first the range, then each of its slots, then the button."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import OuterRef, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.http import require_http_methods
from django_celery_beat.models import PeriodicTask

from jobledger import clock
from jobledger.admin import audit_log, rights
from jobledger.admin.fields import DateTimeField
from jobledger.admin.schedules.snapshot import fingerprint
from jobledger.admin_site import page_url
from jobledger.formats import as_sentence, exact
from jobledger.jobs import json_text, registry, secrets
from jobledger.models import Backfill, Trigger
from jobledger.schedules.backfills import backfilling, past_slots
from jobledger.schedules.backfills.backfilling import MAX_PARALLEL, Terms
from jobledger.schedules.backfills.past_slots import BackfillError, Decision, PastSlot, PastSlots
from jobledger.schedules.words import zone_of

LISTED = 500
"""How many slots the preview lists."""
FIELDS = {"from": "since", "to": "until"}
"""The fields of the form, by the names that errors use."""


UNFINISHED = Subquery(Backfill.objects.filter(schedule=OuterRef("pk"), ended_at=None).values("pk")[:1])
"""The key of a schedule's unfinished backfill, to be read together with the schedule."""


class RangeForm(forms.Form):
    """What to backfill."""

    since = DateTimeField(label="From")
    until = DateTimeField(label="To", help_text="Exclusive.")
    parallel = forms.IntegerField(
        label="Runs at once", min_value=1, max_value=MAX_PARALLEL, initial=1, help_text="Oldest first."
    )
    covered = forms.BooleanField(
        label="Also run what another run stands for",
        required=False,
        help_text="For a job that works on the time it was scheduled for, such as a daily report.",
    )

    def __init__(self, data: Any = None) -> None:
        # The view activates the schedule's zone, which applies to the command line as well.
        now = timezone.localtime().replace(second=0, microsecond=0)
        begin = (now - timedelta(days=7)).replace(hour=0, minute=0)
        super().__init__(data, label_suffix="", initial={"since": begin, "until": now})
        zone = timezone.get_current_timezone_name()
        self.fields["since"].help_text = f"In {zone}, the schedule's time zone."

    def terms(self, user: rights.User) -> Terms:
        values = self.cleaned_data
        return Terms(
            since=values["since"],
            until=values["until"],
            parallel=values["parallel"],
            includes_covered=values["covered"],
            trigger=Trigger.ADMIN,
            username=user.get_username(),
            user_id=user.pk,
        )


def may_backfill(user: rights.User, schedule: PeriodicTask) -> bool:
    """Whether the schedule can be backfilled, and the user sees it and may start runs of its job."""
    job = registry.of_task(schedule.task)
    if job is None or past_slots.why_never(schedule):
        return False
    return rights.may_view_schedules(user) and rights.may_start(user, job.name)


def links(user: rights.User, schedule: PeriodicTask) -> Mapping[str, Any]:
    """What a schedule's page, which has read it with ``UNFINISHED``, says of backfills."""
    unfinished = getattr(schedule, "unfinished_backfill", None) if rights.may_view(user) else None
    return {"may_backfill": may_backfill(user, schedule), "backfill_id": unfinished}


@require_http_methods(["GET", "POST"])
def start_view(request: HttpRequest, schedule_id: int, site: AdminSite) -> HttpResponse:
    """GET shows the form and, with a range, the preview; POST starts what was previewed.

    All times are in the schedule's zone.
    """
    schedule = get_object_or_404(PeriodicTask.objects.select_related("policy"), pk=schedule_id)
    if rights.may_view_schedules(request.user) and (why := past_slots.why_never(schedule)):
        messages.error(request, as_sentence(why))
        return HttpResponseRedirect(page_url("django_celery_beat_periodictask_change", schedule.pk))
    if not may_backfill(request.user, schedule):
        raise PermissionDenied
    with timezone.override(zone_of(schedule)):
        answer = _answer(request, schedule, site)
        return answer.render() if isinstance(answer, TemplateResponse) else answer


def _answer(request: HttpRequest, schedule: PeriodicTask, site: AdminSite) -> HttpResponse:
    form = RangeForm((request.POST if request.method == "POST" else request.GET) or None)
    found: PastSlots | None = None
    if form.is_valid():
        try:
            if request.method == "POST":
                return _start(request, schedule, form)
            found = _previewed(schedule, form, request.user)
        except BackfillError as error:
            form.add_error(FIELDS.get(error.field), as_sentence(str(error)))
    return TemplateResponse(
        request,
        "jobledger/backfills/start.html",
        {
            **site.each_context(request),
            "title": f"Backfill {schedule.name}",
            "schedule": schedule,
            "form": form,
            "may_see_runs": rights.may_view(request.user),
            **(_preview(schedule, found) if found else {}),
        },
    )


@transaction.atomic
def _start(request: HttpRequest, schedule: PeriodicTask, form: RangeForm) -> HttpResponse:
    if request.POST.get("target", mark := _target_mark(schedule)) != mark:
        raise BackfillError("the schedule has been edited since the preview; look at it again")
    backfill = backfilling.start(schedule, form.terms(request.user), now=clock.now())
    count = backfill.slots.count()
    text = f"Started backfill {backfill.pk}: {count:,} {'run' if count == 1 else 'runs'}."
    audit_log.log_action(request.user, [schedule, backfill], text)
    messages.success(request, text)
    if not rights.may_view(request.user):
        return HttpResponseRedirect(page_url("django_celery_beat_periodictask_change", schedule.pk))
    return HttpResponseRedirect(page_url("jobledger_backfill_change", backfill.pk))


def _previewed(schedule: PeriodicTask, form: RangeForm, user: rights.User) -> PastSlots:
    terms = form.terms(user)
    return past_slots.past_slots(
        schedule, terms.since, terms.until, now=clock.now(), includes_covered=terms.includes_covered
    )


def _preview(schedule: PeriodicTask, found: PastSlots) -> dict[str, Any]:
    count, target = len(found.to_run), past_slots.target_of(schedule)
    planned = Backfill(schedule=schedule, job=target.job, options=target.options)
    return {
        "found": found,
        "target": _target_mark(schedule),
        "starts": planned,
        "options": options_of(planned),
        "slots": [_row(each) for each in found.slots[:LISTED]],
        "more": max(len(found.slots) - LISTED, 0),
        "run_count": count,
        "left_out": len(found.slots) - count,
        "covered": found.count(Decision.COVERED),
        "runs_alone": backfilling.runs_alone(schedule),
        "unfinished": backfilling.unfinished_of(schedule),
        "waits": backfilling.why_waiting(planned, clock.now()),
    }


def options_of(backfill: Backfill) -> str:
    """The options with which its runs start, with secrets masked; empty without any."""
    return json_text.format_inline(secrets.masked(backfill.job, backfill.options)) if backfill.options else ""


def _target_mark(schedule: PeriodicTask) -> str:
    """A text that is the same as long as the schedule starts the same job with the same options."""
    target = past_slots.target_of(schedule)
    return fingerprint(json.dumps([target.job, target.options], sort_keys=True))


def _row(each: PastSlot) -> dict[str, Any]:
    return {
        "slot": exact(each.slot),
        "runs": each.decision is Decision.RUN,
        "why": past_slots.why(each),
        "run_id": each.run_id,
    }

"""Schedules in the admin: the pages of a schedule, combined with the list and its actions.

Adding, editing and pausing schedules require separate permissions, which every view checks. All requests that
make changes or submit form input use POST. Without JavaScript, the pages have the same features but take more
steps.

django-celery-beat's timing models have no pages of their own: their rows are shared, and deleting one would
delete every schedule that uses it. The timing of a schedule is edited on the schedule's page.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST
from django_celery_beat.models import PeriodicTask

from jobledger import clock, formats
from jobledger.admin import audit_log, following, pauses, rights
from jobledger.admin.backfills import starting as backfills
from jobledger.admin.fields import number_in
from jobledger.admin.following import Topic
from jobledger.admin.pauses import PauseForm
from jobledger.admin.schedules import deletion, origin
from jobledger.admin.schedules.actions import ScheduleActions
from jobledger.admin.schedules.editing import presence
from jobledger.admin.schedules.editing.edit_form import Conflict, ConflictError, EditForm, NameTakenError
from jobledger.admin.schedules.editing.policy_form import PolicyForm
from jobledger.admin.schedules.editing.preview import formatted_preview
from jobledger.admin.schedules.editing.target import TargetForm, stored_target
from jobledger.admin.schedules.listing import ScheduleList
from jobledger.admin.schedules.status import ScheduleOverview, overview, without_unreadable_times
from jobledger.admin.schedules.versions.pages import ScheduleVersions
from jobledger.admin_site import page_url, page_view
from jobledger.jobs import registry
from jobledger.models import AlertRule, NextSlot, Predecessor
from jobledger.schedules.chains import links
from jobledger.schedules.chains.obstacles import obstacles_of
from jobledger.schedules.declared.values import LABELS

NAME = "django_celery_beat_periodictask"
ENTRIES_PER_PAGE = 50
REDISPLAY = {"_preview", "_show"}
"""Buttons that show the edit form again without saving."""


class ScheduleAdmin(ScheduleActions, ScheduleVersions, ScheduleList):  # type: ignore[misc]  # Django's own `actions` is typed None
    change_form_template = "jobledger/schedules/page.html"
    object_history_template = "jobledger/schedules/history.html"

    def get_urls(self) -> list[URLPattern]:
        """Must precede Django's URLs, which match any text as an ID."""
        views = (
            ("add/preview/", self.preview_view, "add_preview"),
            ("add/target/", self.target_view, "add_target"),
            ("add/command_line/", self.command_line_view, "add_command_line"),
            ("<int:schedule_id>/preview/", self.preview_view, "preview"),
            ("<int:schedule_id>/target/", self.target_view, "target"),
            ("<int:schedule_id>/command_line/", self.command_line_view, "command_line"),
            ("<int:schedule_id>/presence/", self.presence_view, "presence"),
            ("<int:schedule_id>/pause/", self.pause_view, "pause"),
            ("<int:schedule_id>/resume/", self.resume_view, "resume"),
            ("<int:schedule_id>/origin/", self.origin_view, "origin"),
        )
        own = [
            path(route, page_view(self.admin_site, view), name=f"{NAME}_{name}")
            for route, view, name in views
        ]
        return [*own, *super().get_urls()]

    @method_decorator(sensitive_post_parameters())
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The page of a new or stored schedule, with the edit form if the user may edit it."""
        stored = self._get_schedule(request, object_id)
        if not self._may_edit(request, stored):
            if request.method == "POST" or stored is None:
                raise PermissionDenied
            return self._page(request, EditForm(stored=stored, now=_found_at(stored)))
        if request.method != "POST":
            form = EditForm(stored=stored, now=_found_at(stored), job_name=_requested_job(request))
            return self._page(request, form)
        return self._post(request, stored)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The schedule's audit log, newest first, with old and new values."""
        schedule = self._stored(request, object_id)
        found = audit_log.entries_of(schedule)
        page = Paginator(found, ENTRIES_PER_PAGE).get_page(request.GET.get("p"))
        context = {
            **self.admin_site.each_context(request),
            "title": f"History of {schedule.name}",
            "opts": self.opts,
            "schedule": schedule,
            "page": page,
            "entries": self.history_of(request, schedule, list(page)),
            **(extra_context or {}),
        }
        return TemplateResponse(request, self.object_history_template, context)

    @method_decorator([require_POST, sensitive_post_parameters()])
    def preview_view(self, request: HttpRequest, schedule_id: int | None = None) -> HttpResponse:
        """The preview, which is updated while the user fills in the form."""
        form = EditForm(request.POST, stored=self._editable(request, schedule_id), now=clock.now())
        context = {"preview": formatted_preview(form), "form": form}
        return TemplateResponse(request, "jobledger/schedules/preview.html", context)

    @method_decorator([require_POST, sensitive_post_parameters()])
    def target_view(self, request: HttpRequest, schedule_id: int | None = None) -> HttpResponse:
        """The options of the selected job, in the selected input mode."""
        stored = self._editable(request, schedule_id)
        target = TargetForm(request.POST, stored=stored_target(stored))
        context = {
            **_target_context(target, stored),
            "policy": PolicyForm.unchecked(request.POST, target.job),
        }
        return TemplateResponse(request, "jobledger/schedules/target.html", context)

    @method_decorator([require_POST, sensitive_post_parameters()])
    def command_line_view(self, request: HttpRequest, schedule_id: int | None = None) -> HttpResponse:
        """The equivalent command line for the options."""
        stored = self._editable(request, schedule_id)
        form = TargetForm(request.POST, stored=stored_target(stored)).options_form
        if form is None:
            raise Http404
        form.is_valid()
        context = {"command_line": form.command_line, "prefix": form.prefix}
        return TemplateResponse(request, "jobledger/options/command_line.html", context)

    @method_decorator(require_POST)
    def presence_view(self, request: HttpRequest, schedule_id: int) -> HttpResponse:
        """Note that the form is open, and say who else has it open."""
        schedule, now = self._editable(request, schedule_id), timezone.now()
        if schedule is None:
            raise Http404
        presence.announce(request.user, schedule, now)
        context = {"others": presence.others(request.user, schedule, now)}
        return TemplateResponse(request, "jobledger/schedules/presence.html", context)

    @method_decorator(require_POST)
    def pause_view(self, request: HttpRequest, schedule_id: int) -> HttpResponse:
        """Pause the schedule. If it is already paused, the end of the pause is changed."""
        schedule, now = self._pausable(request, schedule_id), clock.now()
        form = PauseForm(request.POST, now=now)
        if not form.is_valid():
            return self._page(request, EditForm(stored=schedule, now=now), pause_form=form)
        text = pauses.pause_schedules(request.user, [schedule], form.terms(request.user), now)
        self.message_user(request, text, messages.SUCCESS)
        return _redirect_to(schedule)

    @method_decorator(require_POST)
    def resume_view(self, request: HttpRequest, schedule_id: int) -> HttpResponse:
        """End the schedule's own pauses. Pauses of the whole service remain."""
        schedule = self._pausable(request, schedule_id)
        if pauses.resume_schedules(request.user, [schedule], clock.now()):
            self.message_user(request, "Resumed.", messages.SUCCESS)
        else:
            self.message_user(request, "The schedule was not paused.", messages.WARNING)
        return _redirect_to(schedule)

    @method_decorator(require_POST)
    def origin_view(self, request: HttpRequest, schedule_id: int) -> HttpResponse:
        """Give a field of a declared schedule the code's value, or keep the stored one for good."""
        schedule = self._editable(request, schedule_id)
        field, is_code_right = request.POST.get("field", ""), "_code" in request.POST
        if schedule is None or field not in LABELS or not (is_code_right or "_keep" in request.POST):
            raise Http404
        version = request.POST.get("version", "")
        try:
            text = origin.settle(request.user, schedule, field, is_code_right=is_code_right, version=version)
            self.message_user(request, text, messages.SUCCESS)
        except origin.OriginConflictError:
            text = "Nothing was changed: the schedule, or its declaration, has changed since you opened it."
            self.message_user(request, text, messages.ERROR)
        return _redirect_to(schedule)

    def get_queryset(self, request: HttpRequest) -> QuerySet[PeriodicTask]:
        """Does not join the timing tables: invalid timing would hide the schedule."""
        found: QuerySet[PeriodicTask] = super().get_queryset(request).select_related(None)
        return found

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> PeriodicTask | None:
        """Removes timing that cannot be read, because the schedule's ``str()`` would read it."""
        found = super().get_object(request, object_id, from_field)
        return without_unreadable_times([found])[0] if found else None

    def get_deleted_objects(self, objs: Iterable[PeriodicTask], request: HttpRequest) -> Any:
        """What users know of. Alert rules about a schedule are part of it: they need no permission."""
        schedules = without_unreadable_times(objs)
        _, _, missing, protected = super().get_deleted_objects(schedules, request)
        deleted, counts = deletion.effects(schedules)
        return deleted, counts, set(missing) - {AlertRule._meta.verbose_name}, protected

    def log_deletions(self, request: HttpRequest, queryset: Iterable[PeriodicTask]) -> Any:
        """Records the values of deleted schedules and their alert rules in the audit log."""
        return deletion.log_deletions(request.user, queryset)

    def _post(self, request: HttpRequest, stored: PeriodicTask | None) -> HttpResponse:
        form = EditForm(request.POST, stored=stored, now=clock.now())
        if REDISPLAY.intersection(request.POST) or not form.is_valid:
            return self._page(request, form)
        try:
            schedule = form.save(request.user)
        except ConflictError as error:
            if stored is None or isinstance(error, NameTakenError):
                # Validated again, it says what is in the way.
                return self._page(request, EditForm(request.POST, stored=stored, now=clock.now()))
            return self._conflict(request, stored)
        presence.withdraw(request.user, schedule)
        for text in form.target.left_to_worker:
            self.message_user(request, text, messages.WARNING)
        return self._saved(request, schedule, form.now, is_new=stored is None)

    def _conflict(self, request: HttpRequest, stored: PeriodicTask) -> HttpResponse:
        """Another user saved first: report it, and compare the submitted values with the stored ones."""
        found = PeriodicTask.objects.filter(pk=stored.pk).first()
        if found is None:
            self.message_user(request, "The schedule has been deleted in the meantime.", messages.ERROR)
            return HttpResponseRedirect(page_url(f"{NAME}_changelist"))
        form = EditForm(request.POST, stored=found, now=clock.now())
        return self._page(request, form, conflict=form.conflict())

    def _saved(
        self, request: HttpRequest, schedule: PeriodicTask, now: datetime, *, is_new: bool
    ) -> HttpResponse:
        text = f"Schedule “{schedule.name}” was {'added' if is_new else 'saved'}."
        self.message_user(request, f"{text} {_next_run(schedule, now)}", messages.SUCCESS)
        if "_continue" in request.POST:
            return _redirect_to(schedule)
        filters: Any = {"preserved_filters": self.get_preserved_filters(request), "opts": self.opts}
        return HttpResponseRedirect(add_preserved_filters(filters, page_url(f"{NAME}_changelist")))

    def _page(
        self,
        request: HttpRequest,
        form: EditForm,
        *,
        conflict: Conflict | None = None,
        pause_form: PauseForm | None = None,
    ) -> HttpResponse:
        stored = form.stored
        may_see_runs = rights.may_view(request.user)
        context = {
            **self.admin_site.each_context(request),
            **_target_context(form.target, stored),
            "form": form,
            "title": stored.name if stored else "Add a schedule",
            "opts": self.opts,
            "conflict": conflict,
            "version": form.version if conflict else form.opened_version,
            "seen": form.newest_entry if conflict else form.opened_entry,
            "has_errors": _has_errors(request, form),
            "preview": formatted_preview(form),
            "preview_url": _url("preview", stored),
            "overview": _overview(stored, form, with_runs=may_see_runs),
            "origin": origin.origins([stored]).get(stored.pk) if stored else None,
            "predecessors": _predecessors(stored),
            "obstacles": _obstacles(stored, form, with_runs=may_see_runs),
            "may_edit": self._may_edit(request, stored),
            "may_delete": stored is not None and self.has_delete_permission(request, stored),
            "may_pause": stored is not None and rights.may_pause(request.user),
            "pause_form": pause_form or PauseForm(now=form.now),
            "preserved_filters": self.get_preserved_filters(request),
            **(backfills.links(request.user, stored) if stored else {}),
            **(following.buttons(request.user, Topic(schedule=stored)) if stored else {}),
        }
        return TemplateResponse(request, self.change_form_template, context)

    def _get_schedule(self, request: HttpRequest, object_id: str | None) -> PeriodicTask | None:
        """The schedule, if the user may view it; None for a new one."""
        return None if object_id is None else self._stored(request, object_id)

    def _stored(self, request: HttpRequest, object_id: str) -> PeriodicTask:
        # Not the admin's lookup: a schedule with invalid timing must be shown, so that it can be fixed.
        schedules = PeriodicTask.objects.select_related("policy", "next_slot")
        schedules = schedules.annotate(
            unfinished_backfill=backfills.UNFINISHED,
            own_subscription=following.own_subscription(request.user),
            found_at=clock.in_statement(),
        )
        found: PeriodicTask = get_object_or_404(schedules, pk=number_in(object_id))
        if not self.has_view_permission(request, found):
            raise PermissionDenied
        return found

    def _may_edit(self, request: HttpRequest, stored: PeriodicTask | None) -> bool:
        if stored is None:
            return bool(self.has_add_permission(request))
        return bool(self.has_change_permission(request, stored))

    def _editable(self, request: HttpRequest, schedule_id: int | None) -> PeriodicTask | None:
        """The schedule, if the user may edit it; None for a new one."""
        stored = self._get_schedule(request, None if schedule_id is None else str(schedule_id))
        if not self._may_edit(request, stored):
            raise PermissionDenied
        return stored

    def _pausable(self, request: HttpRequest, schedule_id: int) -> PeriodicTask:
        schedule: PeriodicTask = get_object_or_404(PeriodicTask, pk=schedule_id)
        if not (rights.may_pause(request.user) and self.has_view_permission(request, schedule)):
            raise PermissionDenied
        return schedule


def _found_at(stored: PeriodicTask | None) -> datetime:
    """The database's time, which it told with the schedule."""
    found: datetime = clock.now() if stored is None else stored.found_at
    return found


def _requested_job(request: HttpRequest) -> str:
    """The job (or its task) in the URL; empty if there is none."""
    try:
        return registry.find(request.GET.get("job") or request.GET.get("task", "")).name
    except registry.UnknownJobError:
        return ""


def _overview(stored: PeriodicTask | None, form: EditForm, *, with_runs: bool) -> ScheduleOverview | None:
    if stored is None:
        return None
    return overview(stored, form.now, with_runs=with_runs, pauses=form.pauses)


def _next_run(schedule: PeriodicTask, now: datetime) -> str:
    row = NextSlot.objects.filter(pk=schedule.pk).first()
    if row is None or row.slot is None:
        return "It has no next run."
    return f"Next run: {formats.exact(row.slot)} ({formats.relative(row.slot, now)})."


def _has_errors(request: HttpRequest, form: EditForm) -> bool:
    is_save = request.method == "POST" and not REDISPLAY.intersection(request.POST)
    return is_save and form.is_posted and not form.is_valid


def _url(name: str, stored: PeriodicTask | None) -> str:
    if stored is None:
        return page_url(f"{NAME}_add_{name}")
    return page_url(f"{NAME}_{name}", stored.pk)


def _target_context(target: TargetForm, stored: PeriodicTask | None) -> dict[str, Any]:
    return {
        "target": target,
        "target_url": _url("target", stored),
        "refresh_url": _url("command_line", stored),
    }


def _redirect_to(schedule: PeriodicTask) -> HttpResponse:
    return HttpResponseRedirect(page_url(f"{NAME}_change", schedule.pk))


def _predecessors(stored: PeriodicTask | None) -> Sequence[Predecessor]:
    """What it starts after; most schedules have times instead."""
    return links.predecessors_of(stored) if stored and links.starts_after_others(stored) else ()


def _obstacles(stored: PeriodicTask | None, form: EditForm, *, with_runs: bool) -> list[str]:
    """Why it does not start after the others, a sentence each."""
    if stored is None or not stored.enabled:
        return []
    found = obstacles_of(stored, form.now)
    return [each.sentence for each in found if with_runs or not each.is_past]

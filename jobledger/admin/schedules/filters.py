"""How the list of schedules is narrowed down. Each filter is one choice, or none."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from jobledger.jobs import registry
from jobledger.models import Pause, Run, Status
from jobledger.schedules.stored_schedules import KINDS

Choices = Sequence[tuple[str, Any]]


class StateFilter(admin.SimpleListFilter):
    """On, off, paused by itself, broken."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """The states."""
        return [("on", "on"), ("off", "off"), ("paused", "paused"), ("broken", "broken")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> QuerySet[PeriodicTask]:
        """Those in the state."""
        match self.value():
            case "on" | "off" as value:
                return queryset.filter(enabled=value == "on")
            case "paused":
                own = Pause.objects.open_at(timezone.now()).filter(schedule__isnull=False)
                return queryset.filter(pk__in=own.values("schedule"))
            case "broken":
                return queryset.filter(Q(next_slot__isnull=False) & ~Q(next_slot__broken=""))
        return queryset


class JobFilter(admin.SimpleListFilter):
    """What is started."""

    title = "job"
    parameter_name = "job"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """The jobs and tasks that have schedules."""
        tasks = PeriodicTask.objects.order_by("task").values_list("task", flat=True).distinct()
        return sorted(((task, job_name(task)) for task in tasks), key=lambda choice: choice[1])

    def queryset(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> QuerySet[PeriodicTask]:
        """Those that start it."""
        task = self.value()
        if not task:
            return queryset
        # An address may ask for what no schedule starts, and what no database takes.
        return queryset.filter(task=task) if task in dict(self.lookup_choices) else queryset.none()


class KindFilter(admin.SimpleListFilter):
    """How the times are given."""

    title = "times"
    parameter_name = "times"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """The kinds, in an operator's words."""
        words = ("cron", "interval", "sun", "one moment")
        return list(zip(KINDS, words, strict=True))

    def queryset(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> QuerySet[PeriodicTask]:
        """Those of the kind."""
        kind = self.value()
        return queryset.filter(**{f"{kind}__isnull": False}) if kind in KINDS else queryset


class LastStatusFilter(admin.SimpleListFilter):
    """How the newest run of the schedule stands: a step into one index for each schedule."""

    title = "last run"
    parameter_name = "last"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """Every state."""
        return Status.choices

    def queryset(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> QuerySet[PeriodicTask]:
        """Those whose newest run is in the state."""
        if self.value() not in Status:
            return queryset
        newest = Run.objects.filter(schedule=OuterRef("pk")).order_by("-queued_at")
        newest_status = Subquery(newest.values("status")[:1])
        found: QuerySet[PeriodicTask] = queryset.alias(last=newest_status).filter(last=self.value())
        return found


def job_name(task: str) -> str:
    """A job's name by its task's; an ordinary task keeps its own."""
    job = registry.of_task(task)
    return job.name if job else task

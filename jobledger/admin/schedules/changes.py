"""What users do to schedules beside editing them, each with an entry in the audit log.

The pages and the HTTP API call the same functions.
"""

from typing import Any
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django_celery_beat.models import PeriodicTask, PeriodicTasks

from jobledger import clock
from jobledger.admin import audit_log, rights
from jobledger.admin.rights import User
from jobledger.models import Run, SchedulePolicy, Trigger
from jobledger.runs import dispatch, limits
from jobledger.runs.publishing import delivery
from jobledger.schedules import locking
from jobledger.schedules.documents import versions_of
from jobledger.schedules.documents.keys import with_enabled
from jobledger.schedules.due import ledger, slot_runs


@transaction.atomic
def set_enabled(user: User, schedules: QuerySet[PeriodicTask], *, enabled: bool) -> list[PeriodicTask]:
    """Enable or disable the schedules from now on; returns those that were not so before."""
    changed = list(schedules.exclude(enabled=enabled))
    ids = [schedule.pk for schedule in changed]
    locking.lock(ids)
    before = versions_of(ids)
    # Otherwise, django-celery-beat's own scheduler would start what was due while it was disabled.
    restarted: dict[str, Any] = {"last_run_at": None, "date_changed": clock.now()} if enabled else {}
    PeriodicTask.objects.filter(pk__in=ids).update(enabled=enabled, **restarted)
    # Notifies django-celery-beat's own scheduler, in case it is the one in use.
    PeriodicTasks.update_changed()
    ledger.sync(ids, clock.now())
    versions = {pk: (each, with_enabled(each, enabled=enabled)) for pk, each in before.items() if each}
    text = "Enabled." if enabled else "Disabled."
    audit_log.log_action(user, changed, text, versions=versions)
    return changed


def run_now(
    user: User, schedule: PeriodicTask, *, trigger: Trigger = Trigger.ADMIN, once: dispatch.Once | None = None
) -> Run:
    """Start a run of the schedule, even if it is disabled or paused.

    Raises BrokenScheduleError, PermissionDenied, or dispatch.RepeatedError if the run that is to start
    ``once`` has been requested before.
    """
    target = slot_runs.target_of(schedule)
    if not rights.may_start(user, target.job):
        raise PermissionDenied(f"you may not start {target.job}")
    request = dispatch.RunRequest(
        job=target.job,
        options=target.options,
        args=target.args,
        trigger=trigger,
        username=user.get_username(),
        user_id=user.pk,
        schedule_id=schedule.pk,
        schedule_name=schedule.name,
        routing=delivery.routing_of(schedule),
        **limits.of_policy(SchedulePolicy.of(schedule)),
    )

    @transaction.atomic
    def start(run_id: UUID) -> Run:
        run = dispatch.enqueue(request, run_id=run_id, once=once)
        audit_log.log_action(user, [schedule], f"Run now: run {run.pk}.")
        return run

    return dispatch.certainly(start, once=once)

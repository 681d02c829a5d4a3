"""Permissions: viewing, starting, cancelling, editing and pausing are separate permissions.

Starting can be limited to some jobs: ``jobledger.start_run`` allows all jobs, ``jobledger.start_job_<name>``
only one. ``create_groups`` creates the permissions for the jobs and three predefined groups. Existing groups
are never changed, so that teams can adapt them.
"""

from collections.abc import Iterable

from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType

from jobledger.jobs import registry
from jobledger.models import Run
from jobledger.permissions import (
    CHANGE_SCHEDULES,
    VIEW,
    VIEW_SCHEDULES,
    User,
    has,
    may_view,
    may_view_schedules,
)

__all__ = ["CHANGE_SCHEDULES", "VIEW", "VIEW_SCHEDULES", "User", "may_view", "may_view_schedules"]

START = "jobledger.start_run"
CANCEL = "jobledger.cancel_run"
PAUSE = "jobledger.pause_schedule"
ADD_SCHEDULES = "django_celery_beat.add_periodictask"
DELETE_SCHEDULES = "django_celery_beat.delete_periodictask"

CREATE_TOKENS = "jobledger.add_apitoken"

VIEW_CALENDARS = "jobledger.view_calendar"
CHANGE_CALENDARS = "jobledger.change_calendar"

_VIEW = (VIEW, VIEW_SCHEDULES, VIEW_CALENDARS)
_OPERATE = (START, CANCEL, PAUSE, CREATE_TOKENS)
_EDIT_CALENDARS = ("jobledger.add_calendar", CHANGE_CALENDARS, "jobledger.delete_calendar")
_EDIT = (ADD_SCHEDULES, CHANGE_SCHEDULES, DELETE_SCHEDULES, *_EDIT_CALENDARS)
GROUPS = {
    "Job viewers": _VIEW,
    "Job operators": (*_VIEW, *_OPERATE),
    "Schedule editors": (*_VIEW, *_OPERATE, *_EDIT),
}


def may_view_calendars(user: User) -> bool:
    return has(user, VIEW_CALENDARS) or has(user, CHANGE_CALENDARS)


def may_add_schedules(user: User) -> bool:
    return has(user, ADD_SCHEDULES)


def may_change_schedules(user: User) -> bool:
    return has(user, CHANGE_SCHEDULES)


def may_delete_schedules(user: User) -> bool:
    return has(user, DELETE_SCHEDULES)


def may_edit_alert_rules(user: User) -> bool:
    return all(has(user, f"jobledger.{verb}_alertrule") for verb in ("add", "change", "delete"))


def may_create_tokens(user: User) -> bool:
    """Whether the user may create API tokens of their own."""
    return has(user, CREATE_TOKENS)


def may_start(user: User, job_name: str) -> bool:
    return has(user, START) or has(user, f"jobledger.{_codename(job_name)}")


def may_start_any(user: User) -> bool:
    """Whether the user may start at least one job."""
    return any(may_start(user, job.name) for job in registry.all_jobs().values())


def may_cancel(user: User) -> bool:
    return has(user, CANCEL)


def may_pause(user: User) -> bool:
    """Whether the user may pause and resume schedules and the whole service."""
    return has(user, PAUSE)


def create_groups() -> list[str]:
    """Create missing permissions and groups; returns the names of the created groups."""
    content_type = ContentType.objects.get_for_model(Run)
    known = set(Permission.objects.filter(content_type=content_type).values_list("codename", flat=True))
    Permission.objects.bulk_create(
        Permission(
            content_type=content_type, codename=_codename(job.name), name=f"Can start {job.name}"[:255]
        )
        for job in registry.all_jobs().values()
        if _codename(job.name) not in known
    )
    created = []
    for name, permissions in GROUPS.items():
        group, is_new = Group.objects.get_or_create(name=name)
        if is_new:
            group.permissions.set(_permissions(permissions))
            created.append(name)
    return created


def _codename(job_name: str) -> str:
    return f"start_job_{job_name}"[:100]


def _permissions(names: Iterable[str]) -> list[Permission]:
    found = []
    for name in names:
        app_label, _, codename = name.partition(".")
        found.append(Permission.objects.get(content_type__app_label=app_label, codename=codename))
    return found

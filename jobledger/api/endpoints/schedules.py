"""Schedules, in the form of an exported file: listed, shown, saved, deleted, enabled, paused and run."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from itertools import islice
from typing import Any

from django.http import HttpRequest, HttpResponse
from django_celery_beat.models import PeriodicTask
from ninja import Header, Query, Router, Schema, Status
from pydantic import Field

from jobledger import clock
from jobledger.admin import pauses as admin_pauses
from jobledger.admin import rights
from jobledger.admin.schedules import changes
from jobledger.admin.schedules.deletion import delete_schedule_seen
from jobledger.admin.schedules.editing.edit_form import ConflictError
from jobledger.admin.schedules.snapshot import snapshot_of
from jobledger.api import addresses, schemas
from jobledger.api.authentication import require, user_of
from jobledger.api.endpoints.pausing import paused, resumed, terms_of
from jobledger.api.endpoints.schedule_documents import document_in, saved
from jobledger.api.problems import ProblemError
from jobledger.api.responses import ERRORS, invalid, pauses_of
from jobledger.api.starting import IdempotencyKey, answer
from jobledger.jobs import registry
from jobledger.management import timetables
from jobledger.management.timetables import BrokenTimetableError
from jobledger.models import NextSlot, Pause, SchedulePolicy, Trigger
from jobledger.schedules.documents import NotRepresentableError, all_documents
from jobledger.schedules.due.slot_runs import BrokenScheduleError

NEXT_RUNS = 5
MAX_NEXT_RUNS = 100
MAX_ID = 2**63
router = Router()


class ScheduleFilters(Schema):
    """Which schedules, and which page of them, in the order of their names."""

    name: str | None = None
    job: str | None = Field(default=None, description="The name of the job or of its task.")
    enabled: bool | None = None
    limit: int = Field(default=schemas.DEFAULT_LIMIT, ge=1, le=schemas.MAX_LIMIT)
    cursor: str | None = Field(default=None, description="The next_cursor of the page before.")


class Times(Schema):
    next: int = Field(default=NEXT_RUNS, ge=0, le=MAX_NEXT_RUNS, description="How many of the next times.")


class Precondition(Schema):
    if_match: str | None = Field(
        default=None,
        alias="If-Match",
        description="The ETag of the schedule that was read: it must not have changed since.",
    )


@router.get("/schedules", response={200: schemas.Schedules, **ERRORS}, summary="List schedules")
def list_schedules(request: HttpRequest, filters: Query[ScheduleFilters]) -> dict[str, Any]:
    """In the order of their names."""
    _require_view(request)
    found = PeriodicTask.objects.order_by("name")
    if filters.name is not None:
        found = found.filter(name=filters.name)
    if filters.job is not None:
        found = found.filter(task=_task_name(filters.job))
    if filters.enabled is not None:
        found = found.filter(enabled=filters.enabled)
    if filters.cursor is not None:
        found = found.filter(name__gt=filters.cursor)
    rows = list(found[: filters.limit + 1])
    page = rows[: filters.limit]
    return {
        "schedules": _states(request, page),
        "next_cursor": page[-1].name if len(rows) > len(page) else None,
    }


@router.post(
    "/schedules",
    response={201: schemas.ScheduleDetails, 409: schemas.Problem, **ERRORS},
    summary="Create a schedule",
)
def create_schedule(request: HttpRequest, response: HttpResponse, body: schemas.ScheduleIn) -> Any:
    """In the form of an exported file, with its name."""
    _require_view(request)
    require(rights.may_add_schedules(user_of(request)), "add schedules")
    name, document = document_in(request, body)
    _require_new(request, name)
    schedule = saved(user_of(request), name, document, None)
    found = _details(request, response, schedule, Times(next=NEXT_RUNS))
    response["Location"] = found["url"]
    return Status(HTTPStatus.CREATED.value, found)


@router.get(
    "/schedules/{int:schedule_id}",
    response={200: schemas.ScheduleDetails, **ERRORS},
    summary="Show a schedule",
)
def show_schedule(
    request: HttpRequest, response: HttpResponse, schedule_id: int, times: Query[Times]
) -> dict[str, Any]:
    """With its next times, and an ETag for a change."""
    return _details(request, response, _schedule(request, schedule_id), times)


@router.put(
    "/schedules/{int:schedule_id}",
    response={200: schemas.ScheduleDetails, 409: schemas.Problem, 412: schemas.Problem, **ERRORS},
    summary="Change a schedule",
)
def change_schedule(
    request: HttpRequest,
    response: HttpResponse,
    schedule_id: int,
    body: schemas.ScheduleIn,
    headers: Header[Precondition],
) -> dict[str, Any]:
    """It becomes what is sent, also its name: what is left out gets its default. Masked secrets are kept."""
    schedule = _changeable(request, schedule_id)
    name, document = document_in(request, body)
    if name != schedule.name:
        _require_new(request, name)
    schedule = saved(user_of(request), name, document, schedule, version=_version(headers.if_match))
    return _details(request, response, schedule, Times(next=NEXT_RUNS))


@router.delete(
    "/schedules/{int:schedule_id}",
    response={204: None, 412: schemas.Problem, **ERRORS},
    summary="Delete a schedule",
)
def delete_schedule(request: HttpRequest, schedule_id: int, headers: Header[Precondition]) -> Any:
    """Its runs are kept."""
    schedule, user = _schedule(request, schedule_id), user_of(request)
    require(rights.may_delete_schedules(user), "delete schedules")
    try:
        delete_schedule_seen(user, schedule, _version(headers.if_match))
    except ConflictError as error:
        detail = "Nothing was deleted: the schedule has been changed. Read it again."
        raise ProblemError(HTTPStatus.PRECONDITION_FAILED, detail) from error
    return Status(HTTPStatus.NO_CONTENT.value, None)


@router.post(
    "/schedules/{int:schedule_id}/enable",
    response={200: schemas.Enabled, **ERRORS},
    summary="Enable a schedule",
)
def enable_schedule(request: HttpRequest, schedule_id: int) -> dict[str, Any]:
    """From now on: runs that were due before are not caught up."""
    return _set_enabled(request, schedule_id, enabled=True)


@router.post(
    "/schedules/{int:schedule_id}/disable",
    response={200: schemas.Enabled, **ERRORS},
    summary="Disable a schedule",
)
def disable_schedule(request: HttpRequest, schedule_id: int) -> dict[str, Any]:
    """It starts nothing any more."""
    return _set_enabled(request, schedule_id, enabled=False)


@router.post(
    "/schedules/{int:schedule_id}/pause", response={200: schemas.Paused, **ERRORS}, summary="Pause a schedule"
)
def pause_schedule(
    request: HttpRequest, schedule_id: int, body: schemas.PauseTerms | None = None
) -> dict[str, Any]:
    """If it is paused already, the end of the pause is changed."""
    schedule, now = _pausable(request, schedule_id), clock.now()
    terms = terms_of(request, body, now)
    admin_pauses.pause_schedules(user_of(request), [schedule], terms, now)
    return paused([schedule], terms)


@router.post(
    "/schedules/{int:schedule_id}/resume",
    response={200: schemas.Resumed, **ERRORS},
    summary="Resume a schedule",
)
def resume_schedule(request: HttpRequest, schedule_id: int) -> dict[str, Any]:
    """End its own pause; that of the whole service remains."""
    schedule, now = _pausable(request, schedule_id), clock.now()
    return resumed(admin_pauses.resume_schedules(user_of(request), [schedule], now), now)


@router.post(
    "/schedules/{int:schedule_id}/runs",
    response={201: schemas.StartedRun, 200: schemas.StartedRun, 409: schemas.Problem, **ERRORS},
    summary="Run a schedule now",
)
def run_schedule(
    request: HttpRequest, response: HttpResponse, schedule_id: int, headers: Header[IdempotencyKey]
) -> Any:
    """With its options, even if it is disabled or paused."""
    schedule, user = _schedule(request, schedule_id), user_of(request)
    try:
        return answer(
            request,
            response,
            headers.idempotency_key,
            ["schedule", schedule.pk],
            lambda once: changes.run_now(user, schedule, trigger=Trigger.API, once=once),
        )
    except BrokenScheduleError as error:
        raise ProblemError(HTTPStatus.CONFLICT, f"{schedule.name} is broken: {error}.") from error


def _task_name(job: str) -> str:
    """The task of the job with this name, or task name. It may be gone, if a schedule still has it."""
    try:
        return registry.find(job).task_name
    except registry.UnknownJobError as error:
        if PeriodicTask.objects.filter(task=job).exists():
            return job
        raise invalid({"query.job": str(error.args[0])}) from error


def _require_view(request: HttpRequest) -> None:
    require(rights.may_view_schedules(user_of(request)), "see schedules")


def _schedule(request: HttpRequest, schedule_id: int) -> PeriodicTask:
    _require_view(request)
    schedule: PeriodicTask | None = None
    if schedule_id < MAX_ID:
        schedule = PeriodicTask.objects.filter(pk=schedule_id).first()
    if schedule is None:
        detail = f"There is no schedule {schedule_id}; it may have been deleted."
        raise ProblemError(HTTPStatus.NOT_FOUND, detail)
    return schedule


def _changeable(request: HttpRequest, schedule_id: int) -> PeriodicTask:
    schedule = _schedule(request, schedule_id)
    require(rights.may_change_schedules(user_of(request)), "change schedules")
    return schedule


def _pausable(request: HttpRequest, schedule_id: int) -> PeriodicTask:
    schedule = _schedule(request, schedule_id)
    require(rights.may_pause(user_of(request)), "pause and resume schedules")
    return schedule


def _set_enabled(request: HttpRequest, schedule_id: int, *, enabled: bool) -> dict[str, Any]:
    schedule = _changeable(request, schedule_id)
    selected = PeriodicTask.objects.filter(pk=schedule.pk)
    return {"changed": bool(changes.set_enabled(user_of(request), selected, enabled=enabled))}


def _require_new(request: HttpRequest, name: str) -> None:
    if (other := PeriodicTask.objects.filter(name=name).first()) is not None:
        url = addresses.absolute(request, f"schedules/{other.pk}")
        detail = f"There is a schedule {name!r} already; it is changed with PUT at its own address."
        raise ProblemError(HTTPStatus.CONFLICT, detail, schedule=url)


def _details(
    request: HttpRequest, response: HttpResponse, schedule: PeriodicTask, times: Times
) -> dict[str, Any]:
    (found,) = _states(request, [schedule])
    response["ETag"] = f'"{snapshot_of(schedule, SchedulePolicy.of(schedule)).version}"'
    try:
        slots = timetables.of_schedule(schedule).slots_from(clock.now())
        return {**found, "next_runs": list(islice(slots, times.next))}
    except BrokenTimetableError as error:
        return {**found, "problem": found["problem"] or str(error), "next_runs": []}


def _states(request: HttpRequest, schedules: Sequence[PeriodicTask]) -> list[dict[str, Any]]:
    """In a fixed number of queries, however many there are."""
    ids, now = [schedule.pk for schedule in schedules], clock.now()
    documents = dict(all_documents(PeriodicTask.objects.filter(pk__in=ids)))
    slots = NextSlot.objects.in_bulk(ids)
    pauses = list(Pause.objects.active_at(now).filter(schedule__in=ids).order_by("since"))
    of_service = list(Pause.objects.active_at(now).filter(schedule=None).order_by("since"))
    return [
        _state(request, each, documents, slots.get(each.pk), [*_own(each, pauses), *of_service])
        for each in schedules
    ]


def _own(schedule: PeriodicTask, pauses: Sequence[Pause]) -> list[Pause]:
    return [pause for pause in pauses if pause.schedule_id == schedule.pk]


def _state(
    request: HttpRequest,
    schedule: PeriodicTask,
    documents: Mapping[str, Any],
    slot: NextSlot | None,
    pauses: Sequence[Pause],
) -> dict[str, Any]:
    document = documents.get(schedule.name)
    is_valid = document is not None and not isinstance(document, NotRepresentableError)
    next_run: datetime | None = slot.slot if slot else None
    return {
        "id": schedule.pk,
        "url": addresses.absolute(request, f"schedules/{schedule.pk}"),
        "name": schedule.name,
        "enabled": schedule.enabled,
        "document": document if is_valid else None,
        "problem": (slot.broken if slot else "") or ("" if is_valid else str(document)) or None,
        "next_run": next_run,
        "pauses": pauses_of(pauses),
    }


def _version(etag: str | None) -> str | None:
    return None if etag in (None, "*") else str(etag).strip().removeprefix("W/").strip('"')

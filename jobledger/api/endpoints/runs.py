"""Runs: found, shown with their output, cancelled and run again."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, TypeVar
from uuid import UUID

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import register_converter
from django.urls.converters import UUIDConverter
from ninja import Header, Query, Router, Schema
from pydantic import AfterValidator, Field

from jobledger.admin import rights
from jobledger.admin.runs import changes
from jobledger.admin.runs.output import reader
from jobledger.admin.runs.search import Cursor, LedgerPosition, RunQuery, find_page
from jobledger.api import schemas
from jobledger.api.authentication import require, user_of
from jobledger.api.problems import ProblemError
from jobledger.api.responses import ERRORS, invalid, parsing, run_in_detail, run_of
from jobledger.api.starting import IdempotencyKey, answer
from jobledger.management import arguments
from jobledger.models import Run, RunOutput, Status, Trigger
from jobledger.runs import dispatch, run_json

MAX_PIECES = 500
router = Router()


class _RunIdConverter(UUIDConverter):
    """As RFC 9562 requires it, capital letters are accepted as well."""

    regex = f"(?i:{UUIDConverter.regex})"


register_converter(_RunIdConverter, "run")


Choice = TypeVar("Choice", Status, Trigger)


def known(choice: Choice) -> Choice:
    """Refuses what a run may have, but nobody can mean."""
    if not choice.is_known:
        *others, last = map(repr, type(choice).values)
        expected = f"{', '.join(others)} or {last}"
        raise ValueError(f"it should be {expected}")
    return choice


class RunFilters(Schema):
    """Which runs, and which page of them."""

    job: str | None = Field(default=None, description="The name of the job or of its task.")
    status: list[Annotated[Status, AfterValidator(known)]] | None = None
    trigger: list[Annotated[Trigger, AfterValidator(known)]] | None = None
    schedule: int | None = Field(default=None, ge=1, lt=2**63, description="The id of a schedule.")
    since: str | None = Field(
        default=None, description="Queued since then: how long ago, such as 2d, or a time in ISO 8601."
    )
    until: str | None = Field(default=None, description="Queued before then; the same.")
    limit: int = Field(default=schemas.DEFAULT_LIMIT, ge=1, le=schemas.MAX_LIMIT)
    cursor: str | None = Field(default=None, description="The next_cursor of the page before.")


class OutputPosition(Schema):
    cursor: Annotated[str, Field(pattern=r"^\d{1,9}-\d{1,9}$")] | None = Field(
        default=None, description="The next_cursor of the answer before."
    )


@router.get("/runs", response={200: schemas.Runs, **ERRORS}, summary="List runs, newest first")
def list_runs(request: HttpRequest, filters: Query[RunFilters]) -> dict[str, Any]:
    """As `manage.py jobledger runs`, a page at a time; distant pages are as fast as the first one."""
    _require_view(request)
    page = find_page(_query(filters), _cursor(filters.cursor))
    # The page was found without its long texts, each of which would take a query of its own.
    rows = Run.objects.filter(pk__in=[run.pk for run in page.runs]).defer("traceback").in_bulk()
    older = page.older.position if page.older else None
    return {
        "runs": [run_of(request, rows[run.pk]) for run in page.runs if run.pk in rows],
        "next_cursor": str(older) if older else None,
        "searched_until": page.searched_until if older else None,
    }


@router.get("/runs/{run:run_id}", response={200: schemas.RunDetails, **ERRORS}, summary="Show a run")
def show_run(request: HttpRequest, run_id: UUID) -> dict[str, Any]:
    """Everything but its output, with earlier attempts."""
    return run_in_detail(request, _run(request, run_id))


@router.get(
    "/runs/{run:run_id}/output", response={200: schemas.Output, **ERRORS}, summary="Read a run's output"
)
def read_output(request: HttpRequest, run_id: UUID, position: Query[OutputPosition]) -> dict[str, Any]:
    """In the order in which it was written. Ask again with next_cursor until it is complete."""
    run = _run(request, run_id)
    attempt, number = map(int, position.cursor.split("-")) if position.cursor else (0, 0)
    # The cursor counts from one, since pieces are counted from zero.
    rows = list(RunOutput.objects.filter(run=run).after(attempt, number - 1)[: MAX_PIECES + 1])
    shown = rows[:MAX_PIECES]
    if shown:
        attempt, number = shown[-1].attempt, shown[-1].number + 1
    return {
        "pieces": run_json.pieces(shown),
        "next_cursor": f"{attempt}-{number}",
        "is_complete": run.is_over and len(rows) == len(shown),
    }


@router.get(
    "/runs/{run:run_id}/log",
    response=ERRORS,
    summary="Read a run's output as plain text",
    openapi_extra={
        "responses": {200: {"description": "OK", "content": {"text/plain": {"schema": {"type": "string"}}}}}
    },
)
def read_log(request: HttpRequest, run_id: UUID) -> HttpResponse:
    """All of it, of all attempts."""
    text = reader.as_text(_run(request, run_id), None)
    headers = {"X-Content-Type-Options": "nosniff"}
    found: Any = StreamingHttpResponse(text, content_type="text/plain; charset=utf-8", headers=headers)
    return found  # type: ignore[no-any-return]


@router.post(
    "/runs/{run:run_id}/cancel",
    response={200: schemas.Cancelled, 409: schemas.Problem, **ERRORS},
    summary="Cancel a run",
)
def cancel_run(request: HttpRequest, run_id: UUID, body: schemas.Cancel | None = None) -> dict[str, Any]:
    """A queued run is cancelled immediately; a running one is asked to stop."""
    run, user = _run(request, run_id), user_of(request)
    require(rights.may_cancel(user), "cancel runs")
    is_requested = changes.cancel_run(user, run, trigger=Trigger.API, comment=body.reason if body else "")
    run.refresh_from_db()
    if not is_requested and not (run.status == Status.RUNNING and run.cancel_requested_at):
        is_over = Status(run.status).is_final
        why = f"is already over: {run.get_status_display()}" if is_over else "has just started: try again"
        raise ProblemError(HTTPStatus.CONFLICT, f"Run {run.pk} {why}.")
    return {"requested": is_requested, "run": run_of(request, run)}


@router.post(
    "/runs/{run:run_id}/again",
    response={201: schemas.StartedRun, 200: schemas.StartedRun, 409: schemas.Problem, **ERRORS},
    summary="Run again",
)
def run_again(
    request: HttpRequest, response: HttpResponse, run_id: UUID, headers: Header[IdempotencyKey]
) -> Any:
    """The same job with the same options, for the same scheduled time."""
    run, user = _run(request, run_id), user_of(request)
    require(rights.may_start(user, run.job), f"start {run.job}")
    try:
        return answer(
            request,
            response,
            headers.idempotency_key,
            ["again", str(run.pk)],
            lambda once: changes.start_run_again(user, run, trigger=Trigger.API, once=once),
        )
    except dispatch.CannotRunAgainError as error:
        raise ProblemError(HTTPStatus.CONFLICT, str(error)) from error


def _require_view(request: HttpRequest) -> None:
    require(rights.may_view(user_of(request)), "see runs")


def _run(request: HttpRequest, run_id: UUID) -> Run:
    _require_view(request)
    run = Run.objects.filter(pk=run_id).first()
    if run is None:
        raise ProblemError(HTTPStatus.NOT_FOUND, f"There is no run {run_id}; it may have been deleted.")
    return run


def _query(filters: RunFilters) -> RunQuery:
    with parsing("query.job"):
        job = arguments.job_of_runs(filters.job) if filters.job else None
    return RunQuery(
        jobs=(job,) if job else None,
        statuses=tuple(dict.fromkeys(filters.status)) if filters.status else None,
        triggers=tuple(dict.fromkeys(filters.trigger)) if filters.trigger else None,
        schedule_ids=(filters.schedule,) if filters.schedule else None,
        since=_time(filters.since, "query.since"),
        until=_time(filters.until, "query.until"),
        page_size=filters.limit,
    )


def _time(text: str | None, location: str) -> datetime | None:
    if not text:
        return None
    with parsing(location):
        return arguments.since(text, location)


def _cursor(text: str | None) -> Cursor | None:
    if text is None:
        return None
    if (position := LedgerPosition.read(text)) is None:
        raise invalid({"query.cursor": "it is not valid: send the next_cursor of an answer"})
    return Cursor(position=position)

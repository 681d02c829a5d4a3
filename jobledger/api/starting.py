"""Starting runs: the same for a job, a run that is repeated, a schedule and a token that starts one job."""

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Schema, Status
from pydantic import Field

from jobledger.admin.options.form import left_to_worker
from jobledger.admin.runs import changes
from jobledger.api.authentication import once, user_of
from jobledger.api.problems import ProblemError
from jobledger.api.responses import invalid, invalid_options, run_of, run_page
from jobledger.jobs import secrets
from jobledger.jobs.options import validate_options
from jobledger.jobs.options.errors import OptionsError
from jobledger.jobs.registry import Job
from jobledger.models import Run, Trigger
from jobledger.runs import dispatch


class IdempotencyKey(Schema):
    """A header of requests that start a run."""

    idempotency_key: str | None = Field(
        default=None,
        alias="Idempotency-Key",
        max_length=255,
        description="Chosen by the client, such as a UUID: a request that repeats it starts nothing again.",
    )


def start(
    request: HttpRequest, response: HttpResponse, job: Job, options: Mapping[str, Any], key: str | None
) -> Status[Any]:
    """Start the job with these options, once they are validated. Raises ProblemError."""
    warnings = _validated(job, options)
    return answer(
        request,
        response,
        key,
        ["job", job.name, options],
        lambda once: changes.start_job(user_of(request), job, options, trigger=Trigger.API, once=once),
        warnings,
    )


def answer(
    request: HttpRequest,
    response: HttpResponse,
    key: str | None,
    what: Sequence[Any],
    begin: Callable[[dispatch.Once | None], Run],
    warnings: Sequence[str] = (),
) -> Status[Any]:
    """201 with the run that ``begin`` has started; 200 with the one that the same request started before.

    Raises ProblemError if the key was used for something else; ``what`` is requested, as JSON.
    """
    status = HTTPStatus.CREATED
    try:
        run = begin(once(request, key, what))
        run.refresh_from_db()
    except dispatch.RepeatedError as error:
        if not error.is_same:
            detail = "This Idempotency-Key was used for another request; use a new one for each."
            raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, detail) from error
        run, status = error.run, HTTPStatus.OK
        response["Idempotency-Replayed"] = "true"
    found = {**run_of(request, run), "page": run_page(request, run), "warnings": list(warnings)}
    response["Location"] = found["url"]
    return Status(status.value, found)


def _validated(job: Job, options: Mapping[str, Any]) -> list[str]:
    """What only a worker can validate of the options."""
    try:
        secrets.unmasked(dict(options), {}, {})
    except secrets.UnknownMaskError as error:
        raise invalid({"body.options": str(error)}) from error
    try:
        parser = job.create_validating_parser()
        validate_options(parser, options)
        return left_to_worker(parser, options)
    except OptionsError as error:
        raise invalid_options(job.name, options, error) from error

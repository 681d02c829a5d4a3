"""What the endpoints of several rooms return, and the errors of the functions that they share."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from django.core.management.base import CommandError
from django.http import HttpRequest
from django.urls import NoReverseMatch

from jobledger.admin_site import page_url
from jobledger.api import addresses, schemas
from jobledger.api.problems import ProblemError
from jobledger.jobs import secrets
from jobledger.jobs.options.errors import OptionsError
from jobledger.models import Pause, Run
from jobledger.runs import run_json

ERRORS: dict[int, Any] = {
    400: schemas.Problem,
    401: schemas.Problem,
    403: schemas.Problem,
    404: schemas.Problem,
    422: schemas.Problem,
    429: schemas.Problem,
}


def run_of(request: HttpRequest, run: Run) -> dict[str, Any]:
    return {**run_json.as_json(run), "url": addresses.absolute(request, f"runs/{run.pk}")}


def run_in_detail(request: HttpRequest, run: Run) -> dict[str, Any]:
    return {**run_json.in_detail(run), "url": addresses.absolute(request, f"runs/{run.pk}")}


def run_page(request: HttpRequest, run: Run) -> str | None:
    """The URL of the run's page in the admin, if there is one."""
    try:
        return request.build_absolute_uri(page_url("jobledger_run_change", run.pk))
    except NoReverseMatch:
        return None


def pauses_of(pauses: Iterable[Pause]) -> list[dict[str, Any]]:
    return [
        {
            "since": pause.since,
            "until": pause.until,
            "reason": pause.reason,
            "user": pause.username,
            "of_service": pause.schedule_id is None,
        }
        for pause in pauses
    ]


@contextmanager
def parsing(location: str) -> Iterator[None]:
    """Turn the error of a value that the command line would refuse into a problem."""
    try:
        yield
    except CommandError as error:
        text = str(error).removeprefix(f"{location}: ")
        raise invalid({location: text}) from error


def invalid(errors: Mapping[str, str]) -> ProblemError:
    """For values that are not valid, by their locations."""
    return ProblemError(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "; ".join(errors.values()),
        errors=[{"location": location, "detail": text} for location, text in errors.items()],
    )


def invalid_options(job_name: str, options: Mapping[str, Any], error: OptionsError) -> ProblemError:
    """For options that the command's parser does not accept. Secrets are masked."""
    errors = [
        {
            "location": f"body.options.{each.dest}" if each.dest else "body.options",
            "detail": secrets.without_secrets(job_name, options, each.text),
        }
        for each in error.problems
    ]
    detail = secrets.without_secrets(job_name, options, str(error))
    return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, f"{job_name}: {detail}", errors=errors)

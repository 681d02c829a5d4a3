"""The address that starts one job, guarded by a token of its own that can do nothing else."""

from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Header, Router

from jobledger.admin import rights
from jobledger.api import schemas
from jobledger.api.authentication import Token, identified, require, sent_token
from jobledger.api.problems import ProblemError
from jobledger.api.responses import ERRORS
from jobledger.api.starting import IdempotencyKey, start
from jobledger.jobs import registry
from jobledger.jobs.json_text import problem_with
from jobledger.models import Scope

router = Router()


ANSWERS = {201: schemas.StartedRun, 200: schemas.StartedRun, **ERRORS}


@router.post("/start/{token}", auth=None, response=ANSWERS, summary="Start the job of a token in the address")
def start_by_address(
    request: HttpRequest,
    response: HttpResponse,
    token: str,
    headers: Header[IdempotencyKey],
    body: schemas.Start | None = None,
) -> Any:
    """With the options of the token, or, if it has none, of the request."""
    return _start(request, response, token, headers, body)


@router.post(
    "/start",
    # The endpoint itself looks at the token, which is of another scope than those of the others.
    auth=None,
    response=ANSWERS,
    summary="Start the job of a token in the header",
    openapi_extra={"security": [{Token.__name__: []}]},
)
def start_by_header(
    request: HttpRequest,
    response: HttpResponse,
    headers: Header[IdempotencyKey],
    body: schemas.Start | None = None,
) -> Any:
    """The same, with the token as the header Authorization, which no access log contains."""
    return _start(request, response, sent_token(request), headers, body)


def _start(
    request: HttpRequest,
    response: HttpResponse,
    text: str,
    headers: IdempotencyKey,
    body: schemas.Start | None,
) -> Any:
    found = identified(request, text)
    if found.scope != Scope.START:
        detail = "This token is not for starting one job; send it as a header to the other addresses."
        raise ProblemError(HTTPStatus.FORBIDDEN, detail)
    given = body.options if body else {}
    if found.options is not None and given:
        raise ProblemError(HTTPStatus.FORBIDDEN, "The options of this token are fixed; send none.")
    if (job := registry.all_jobs().get(found.job)) is None:
        raise ProblemError(HTTPStatus.NOT_FOUND, f"The job of this token, {found.job}, no longer exists.")
    require(rights.may_start(request.user, job.name), f"start {job.name}")
    options = given if found.options is None else found.options
    if problem := problem_with(options):
        raise ProblemError(HTTPStatus.CONFLICT, f"The options of this token cannot be used: {problem}.")
    return start(request, response, job, options, headers.idempotency_key)

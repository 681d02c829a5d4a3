"""The address that starts one job, guarded by a token of its own that can do nothing else."""

from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Header, Router

from jobledger.admin import rights
from jobledger.api import schemas
from jobledger.api.authentication import identified, require
from jobledger.api.problems import ProblemError
from jobledger.api.responses import ERRORS
from jobledger.api.starting import IdempotencyKey, registered, start
from jobledger.models import Scope

router = Router()


@router.post(
    "/start/{token}",
    auth=None,
    response={201: schemas.StartedRun, 200: schemas.StartedRun, **ERRORS},
    summary="Start the job of a token",
)
def start_by_token(
    request: HttpRequest,
    response: HttpResponse,
    token: str,
    headers: Header[IdempotencyKey],
    body: schemas.Start | None = None,
) -> Any:
    """With the options of the token, or, if it has none, of the request."""
    found = identified(request, token)
    if found.scope != Scope.START:
        detail = "This token is not for starting a job; send it as a header to the other addresses."
        raise ProblemError(HTTPStatus.FORBIDDEN, detail)
    if found.options is not None and body is not None and body.options:
        raise ProblemError(HTTPStatus.FORBIDDEN, "The options of this token are fixed; send none.")
    job = registered(found.job)
    require(rights.may_start(request.user, job.name), f"start {job.name}")
    options = found.options if found.options is not None else body.options if body else {}
    return start(request, response, job, options, headers.idempotency_key)

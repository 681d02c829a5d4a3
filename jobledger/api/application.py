"""The API as django-ninja knows it: its endpoints, its document, and how errors are answered."""

from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.http.request import UnreadablePostError
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError
from ninja.operation import Operation
from ninja.parser import Parser

import jobledger
from jobledger.api import problems
from jobledger.api.authentication import Token
from jobledger.api.document import document
from jobledger.api.endpoints import jobs, runs, schedules, service, start_tokens
from jobledger.api.problems import ProblemError
from jobledger.jobs import json_text

DESCRIPTION = (
    "What `manage.py jobledger` can do, for other programs. Times are in ISO 8601 and UTC, secrets are "
    "masked, and errors are problem details (RFC 9457)."
)


class StrictParser(Parser):
    """JSON that can be stored and sent: no NaN, and not nested too deep."""

    def parse_body(self, request: HttpRequest) -> Any:
        """No content is as good as an empty object."""
        return json_text.parse(request.body.decode() or "{}")


class Api(NinjaAPI):
    def get_openapi_operation_id(self, operation: Operation) -> str:
        """The name that clients which are made from the document give to their functions."""
        return operation.view_func.__name__


api = Api(
    title="jobledger",
    version=jobledger.__version__,
    description=DESCRIPTION,
    urls_namespace="jobledger_api_endpoints",
    # The reference has examples; a page of its own would need scripts that the admin's policy forbids.
    openapi_url=None,
    docs_url=None,
    auth=Token(),
    parser=StrictParser(),
)
for tag, router in {
    "jobs": jobs.router,
    "runs": runs.router,
    "schedules": schedules.router,
    "service": service.router,
    "start": start_tokens.router,
}.items():
    api.add_router("", router, tags=[tag])


@api.get("/openapi.json", auth=None, summary="Show this document", tags=["service"])
def openapi(request: HttpRequest) -> dict[str, Any]:
    """The OpenAPI document, which needs no token."""
    return document(api, request)


@api.exception_handler(ProblemError)
def _problem(request: HttpRequest, error: Any) -> HttpResponse:
    return problems.response(request, error)


@api.exception_handler(ValidationError)
def _invalid(request: HttpRequest, error: Any) -> HttpResponse:
    return problems.response(request, problems.invalid(error.errors))


@api.exception_handler(HttpError)
def _http_error(request: HttpRequest, error: Any) -> HttpResponse:
    found = ProblemError(HTTPStatus(error.status_code), f"{error.message}. Send one JSON object.")
    return problems.response(request, found)


@api.exception_handler(PermissionDenied)
def _denied(request: HttpRequest, error: Any) -> HttpResponse:
    # The functions of the admin say it to their user.
    what = str(error).removeprefix("you may not ")
    detail = f"The token's owner may not {what}." if what else "Not permitted."
    return problems.response(request, ProblemError(HTTPStatus.FORBIDDEN, detail))


@api.exception_handler(RequestDataTooBig)
def _too_big(request: HttpRequest, error: Any) -> HttpResponse:
    return problems.response(request, problems.too_long())


@api.exception_handler(UnreadablePostError)
def _unreadable(request: HttpRequest, error: Any) -> HttpResponse:
    return problems.response(request, problems.incomplete())

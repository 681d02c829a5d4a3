"""Answers the requests of the API: limits by address, the endpoint, and problems instead of error pages."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.core.signals import got_request_exception
from django.http import HttpRequest, HttpResponse
from django.urls import URLResolver
from django.urls.exceptions import Resolver404
from django.urls.resolvers import RegexPattern

from jobledger.admin import audit_log
from jobledger.api import document, limits, problems
from jobledger.api.addresses import VERSION
from jobledger.api.application import api
from jobledger.api.authentication import token_of
from jobledger.api.problems import ProblemError
from jobledger.api.responses import invalid
from jobledger.escapes import line_logger
from jobledger.jobs.secrets import MASK
from jobledger.outages import is_outage, may_be_saved
from jobledger.runs.django_internals import set_body

RETRY_AFTER_SECONDS = 10
NOTHING_HERE = "There is nothing at this address; openapi.json lists what there is."
OUTAGE = "The database cannot be used right now. Nothing was changed. Try again in a few seconds."
UNKNOWN = (
    "The database has not answered: what was to be changed may be saved, or not. Look before you try again; "
    "a request with an Idempotency-Key can be repeated as it is."
)
logger = line_logger(__name__)
_resolver = URLResolver(
    RegexPattern(rf"^{VERSION}/"), [each for each in api.urls[0] if getattr(each, "name", "") != "api-root"]
)


def respond(request: HttpRequest, path: str) -> HttpResponse:
    """The answer, whatever happens; every error is a problem in JSON."""
    _hide_token(request, path)
    response = _response(request, path)
    return _headers_of(response) if request.method == "HEAD" else response


def _response(request: HttpRequest, path: str) -> HttpResponse:
    try:
        limits.check_address(request)
        _read_chunked_body(request)
        return _answer(request, path)
    except ProblemError as error:
        return problems.response(request, error)
    except Exception as error:
        # As Django does: monitoring and the mails to ADMINS rely on it.
        got_request_exception.send(sender=None, request=request)
        if not is_outage(error):
            logger.exception("The API could not answer %s %s", request.method, request.path)
        return problems.response(request, _failure(error, request.method))


def _hide_token(request: HttpRequest, path: str) -> None:
    """Django logs the paths of requests that fail, and that of a token for one job contains the token."""
    before, is_start, token = path.partition(f"{VERSION}/start/")
    if is_start and token and not before:
        request.path = request.path.removesuffix(token) + MASK
        request.path_info = request.path_info.removesuffix(token) + MASK


def _read_chunked_body(request: HttpRequest) -> None:
    """A body without Content-Length, which Django would take for none.

    Raises ProblemError if it is incomplete, too long, or the server does not say where it ends.
    """
    if not isinstance(request, WSGIRequest) or "Transfer-Encoding" not in request.headers:
        return
    if not request.META.get("wsgi.input_terminated"):
        detail = "This server reads no body without a Content-Length; send it with that header."
        raise ProblemError(HTTPStatus.LENGTH_REQUIRED, detail)
    limit: Any = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    try:
        body = request.META["wsgi.input"].read(*([] if limit is None else [limit + 1]))
    except Exception as error:
        # Each server has exceptions of its own for chunks that are malformed, or do not arrive.
        raise problems.incomplete() from error
    if limit is not None and len(body) > limit:
        raise problems.too_long()
    set_body(request, body)


def _answer(request: HttpRequest, path: str) -> HttpResponse:
    if "\0" in path or any("\0" in text for name, texts in request.GET.lists() for text in (name, *texts)):
        raise ProblemError(HTTPStatus.BAD_REQUEST, "The URL contains a NUL character; leave it out.")
    try:
        match = _resolver.resolve(path)
    except Resolver404 as error:
        raise ProblemError(HTTPStatus.NOT_FOUND, NOTHING_HERE) from error
    method = "GET" if request.method == "HEAD" else str(request.method)
    _check_query(request, document.query_parameters(api).get(match.url_name or "", {}).get(method))
    with audit_log.by_token(lambda: token.name if (token := token_of(request)) else ""), _as(method, request):
        response: HttpResponse = match.func(request, *match.args, **match.kwargs)
    if response.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        raise problems.not_allowed(request, response.get("Allow", "another method"))
    return response


def _check_query(request: HttpRequest, known: Collection[str] | None) -> None:
    """A misspelt filter must not be ignored, nor what is meant as an option. Raises ProblemError."""
    there_are = f"; there are {', '.join(known)}" if known else ""
    unknown = {f"query.{name}": f"There is no such parameter here{there_are}." for name in request.GET}
    if known is not None and (wrong := unknown.keys() - {f"query.{name}" for name in known}):
        raise invalid({location: unknown[location] for location in sorted(wrong)})


@contextmanager
def _as(method: str, request: HttpRequest) -> Iterator[None]:
    """Meanwhile, the request has this method: a HEAD is answered as a GET, without the content."""
    previous, request.method = request.method, method
    try:
        yield
    finally:
        request.method = previous


def _headers_of(response: HttpResponse) -> HttpResponse:
    # Not closed, which would also tell Django that the request has ended. What it streams has not begun.
    found = HttpResponse(status=response.status_code, headers=dict(response.items()))
    if not response.streaming:
        found["Content-Length"] = str(len(response.content))
    return found


def _failure(error: Exception, method: str | None) -> ProblemError:
    if not is_outage(error):
        detail = "Something went wrong here; the log of the web server says what."
        return ProblemError(HTTPStatus.INTERNAL_SERVER_ERROR, detail)
    return ProblemError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        UNKNOWN if may_be_saved(method, error) else OUTAGE,
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )

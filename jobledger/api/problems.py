"""Errors as problem details (RFC 9457): what is wrong, and what would be right."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse

CONTENT_TYPE = "application/problem+json"
PARAMETERS = ("body", "filters", "headers", "position", "times")
"""The names of endpoints' parameters that stand for several values."""


class ProblemError(Exception):
    """A request that cannot be fulfilled; the text is for whoever writes the client."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        errors: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        """``errors`` are problems with single values, ``more`` other members of the answer."""
        super().__init__(detail)
        self.status, self.detail = status, detail
        self.errors, self.headers, self.more = errors, headers or {}, more


def response(request: HttpRequest, error: ProblemError) -> HttpResponse:
    """The answer for the error."""
    content = {
        "type": "about:blank",
        "title": error.status.phrase,
        "status": error.status.value,
        "detail": error.detail,
        **({"errors": list(error.errors)} if error.errors else {}),
        **error.more,
    }
    return JsonResponse(
        content,
        status=error.status,
        headers=dict(error.headers),
        content_type=CONTENT_TYPE,
        json_dumps_params={"ensure_ascii": False},
    )


def not_allowed(request: HttpRequest, allowed: str) -> ProblemError:
    detail = f"{request.method} is not possible here; use {allowed}."
    return ProblemError(
        HTTPStatus.METHOD_NOT_ALLOWED, detail, headers={"Allow": allowed.replace("GET", "GET, HEAD")}
    )


def too_long() -> ProblemError:
    detail = "The request is longer than this server accepts (DATA_UPLOAD_MAX_MEMORY_SIZE)."
    return ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)


def incomplete() -> ProblemError:
    return ProblemError(HTTPStatus.BAD_REQUEST, "The request is incomplete, or its body is malformed.")


def invalid(errors: Sequence[Mapping[str, Any]]) -> ProblemError:
    """For errors as pydantic describes them."""
    found = [{"location": _location(each["loc"]), "detail": _detail(each)} for each in errors]
    return ProblemError(
        HTTPStatus.UNPROCESSABLE_ENTITY, "The request is not valid: see errors.", errors=found
    )


def _location(path: Sequence[Any]) -> str:
    """Without the name of the endpoint's parameter, which django-ninja includes in some of them."""
    where, *names = map(str, path)
    return ".".join([where, *(names[1:] if names and names[0] in PARAMETERS else names)])


def _detail(error: Mapping[str, Any]) -> str:
    # The input may be long, or a secret.
    text = str(error["msg"]).removeprefix("Value error, ")
    if error.get("type") == "extra_forbidden":
        return "There is no such field here."
    return text

"""Keeps secret addresses out of logs, error reports, search engines and the Referer header."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views.decorators.debug import sensitive_variables

from jobledger.jobs.secrets import MASK

_PATHS = ("PATH_INFO", "REQUEST_URI", "RAW_URI")


class Secret(str):
    """A part of an address that no error report shows among the variables of a view."""

    __slots__ = ()

    def __repr__(self) -> str:
        return MASK


View = Callable[..., HttpResponse]


def secret_address(view: View) -> View:
    """For a view whose last argument ends its path. Must be the first decorator."""

    @wraps(view)
    @sensitive_variables("secret")
    def guarded(request: HttpRequest, secret: str) -> HttpResponse:
        _hide(request, secret)
        response = view(request, Secret(secret))
        response.headers.setdefault("Cache-Control", "no-store")
        response["Referrer-Policy"] = "no-referrer"
        response["X-Robots-Tag"] = "noindex"
        return response

    return guarded


def _hide(request: Any, secret: str) -> None:
    """Django logs the path of whatever is not found, for example."""
    request.path = request.path.removesuffix(secret) + MASK
    request.path_info = request.path_info.removesuffix(secret) + MASK
    for name in _PATHS:
        if name in request.META:
            request.META[name] = request.path
    # Of which the function that has called the view has the same dictionary.
    request.resolver_match.kwargs["secret"] = MASK

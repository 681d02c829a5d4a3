"""Views for programs, which come without a cookie, and answers to HEAD requests, which have no body.

Django leaves it to the server to drop the body. gunicorn does, but warns each time; other servers send it.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

R = TypeVar("R", bound=HttpResponseBase)


class HeadMiddleware:
    """Drops the body of whatever answers a HEAD request. To be the first in ``MIDDLEWARE``."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return _for(request, self._get_response(request))


def without_body(view: Callable[..., R]) -> Callable[..., R]:
    """Do the same for a single view, in a project that does not have the middleware."""

    @wraps(view)
    def answered(request: HttpRequest, *args: Any, **kwargs: Any) -> R:
        return _for(request, view(request, *args, **kwargs))

    return answered


def probe(view: Callable[..., R]) -> Callable[..., R]:
    """A view that anybody may read, of which nothing is kept. Other methods are answered by 405.

    Without the exemptions, a POST request would get a page about CSRF, and a project's
    ``LoginRequiredMiddleware`` would send health checks to the login.
    """
    return csrf_exempt(login_not_required(never_cache(without_body(require_safe(view)))))


def _for(request: HttpRequest, response: R) -> R:
    if request.method == "HEAD":
        if getattr(response, "is_rendered", True):
            _drop_body(response)
        else:
            # A template's response is rendered after the view has returned it.
            response.add_post_render_callback(_drop_body)  # type: ignore[attr-defined]
    return response


def _drop_body(response: Any) -> None:
    if response.streaming:
        # Its source is closed with the response.
        response.streaming_content = ()
    else:
        response.headers.setdefault("Content-Length", str(len(response.content)))
        response.content = b""

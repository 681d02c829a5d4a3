"""Answers to HEAD requests have no body, which is told from that of GET, and probes need no cookie."""

import io
from collections.abc import Iterator
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.template.response import SimpleTemplateResponse
from django.test import Client, RequestFactory
from pytest_django import Settings

from jobledger.public_views import HeadMiddleware, probe
from tests.unit.builders import override


@pytest.fixture
def project(settings: Settings) -> None:
    settings.MIDDLEWARE = [
        name for name in settings.MIDDLEWARE if "public_views" not in name and "axes" not in name
    ]


def answer(method: str, path: str) -> tuple[str, dict[str, str], bytes]:
    """As a WSGI server gets it. Django's test client would drop the body itself."""
    environ: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": path, "HTTP_HOST": "localhost"}
    setup_testing_defaults(environ)
    environ["wsgi.input"] = io.BytesIO()
    begun: list[Any] = []
    start: Any = lambda status, headers: begun.append((status, dict(headers)))  # noqa: E731
    result: Any = WSGIHandler()(environ, start)
    body = b"".join(result)
    result.close()
    ((status, headers),) = begun
    return status, headers, body


def assert_head_is_like_get(path: str) -> None:
    status, headers, body = answer("GET", path)
    assert body
    status_of_head, headers_of_head, body_of_head = answer("HEAD", path)
    assert body_of_head == b""
    assert status_of_head == status
    assert headers_of_head["Content-Length"] == headers["Content-Length"]
    assert headers_of_head["Content-Type"] == headers["Content-Type"]


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/livez", "/healthz", "/admin/login/", "/nothing", "/metrics"])
def test_the_answer_to_head_has_no_body(path: str) -> None:
    assert_head_is_like_get(path)


@pytest.mark.django_db
@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    "path", ["/livez", "/healthz", "/metrics", "/feeds/unknown", "/unsubscribe/unknown", "/api/v1/nothing"]
)
def test_neither_have_the_services_own_in_a_project_without_the_middleware(path: str) -> None:
    assert_head_is_like_get(path)


@pytest.mark.django_db
def test_what_streams_is_not_read_for_head_but_closed() -> None:
    closed: list[bool] = []

    def pieces() -> Iterator[bytes]:
        yield b"piece"

    class Source:
        def __iter__(self) -> Iterator[bytes]:
            return pieces()

        def close(self) -> None:
            closed.append(True)

    response = HeadMiddleware(lambda request: StreamingHttpResponse(Source()))(RequestFactory().head("/"))
    assert b"".join(response) == b""
    response.close()
    assert closed == [True]


def test_a_template_is_rendered_before_its_body_is_dropped() -> None:
    @probe
    def view(request: HttpRequest) -> HttpResponse:
        return SimpleTemplateResponse("jobledger/locked_out.html")

    response = view(RequestFactory().head("/"))
    assert isinstance(response, SimpleTemplateResponse)
    response.render()
    assert response.content == b""
    assert int(response["Content-Length"]) > 100


@pytest.mark.parametrize("path", ["/livez", "/healthz", "/readyz", "/metrics", "/feeds/unknown"])
def test_another_method_is_not_allowed_whether_or_not_it_comes_with_a_cookie(path: str) -> None:
    response = Client(enforce_csrf_checks=True).post(path)
    assert response.status_code == 405
    assert response["Allow"] == "GET, HEAD"


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/livez", "/healthz", "/metrics", "/feeds/unknown", "/unsubscribe/unknown"])
def test_a_project_in_which_everything_requires_a_login_lets_programs_in(
    settings: Settings, path: str
) -> None:
    override(settings, METRICS_TOKEN="t" * 16)
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    assert Client().get(path).status_code in (200, 403, 404)

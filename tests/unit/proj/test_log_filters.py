"""Refused requests and readiness polls do not flood the log, and no secret address is in it."""

import io
import logging
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import include, path

from jobledger.health import readiness
from jobledger.health.readiness import Readiness

pytestmark = pytest.mark.django_db


def forbidden(request: HttpRequest) -> HttpResponse:
    raise PermissionDenied


def suspicious(request: HttpRequest) -> HttpResponse:
    raise SuspiciousOperation("a lookup that\nnobody may use")


def defective(request: HttpRequest) -> HttpResponse:
    raise ValueError("a bug")


urlpatterns = [
    path("", include("jobledger.urls")),
    path("forbidden", forbidden),
    path("suspicious", suspicious),
    path("defective", defective),
]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the project's handler writes."""
    written = io.StringIO()
    (handler,) = [each for each in logging.getLogger().handlers if each.get_name() == "stderr"]
    assert isinstance(handler, logging.StreamHandler)
    # Not by setStream, which flushes the old one: that may be a closed file of an earlier test.
    monkeypatch.setattr(handler, "stream", written)
    return written


@pytest.fixture
def site(settings: Any, client: Client) -> Client:
    settings.ROOT_URLCONF = __name__
    client.raise_request_exception = False
    return client


@pytest.mark.parametrize(("name", "status"), [("forbidden", 403), ("suspicious", 400)])
def test_a_refused_request_is_logged_in_one_line(
    site: Client, log: io.StringIO, name: str, status: int
) -> None:
    assert site.get(f"/{name}").status_code == status
    assert len(log.getvalue().splitlines()) == 1


def test_an_error_is_logged_with_its_traceback(site: Client, log: io.StringIO) -> None:
    assert site.get("/defective").status_code == 500
    assert "\n  Traceback (most recent call last):\n" in log.getvalue()
    assert "ValueError: a bug" in log.getvalue()


def test_a_readiness_poll_of_an_unready_service_is_not_logged(
    site: Client, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    unready = Readiness(checks={"broker": (False, "not available")})
    monkeypatch.setattr(readiness, "read", lambda: unready)
    assert site.get("/readyz").status_code == 503
    assert log.getvalue() == ""


@pytest.mark.parametrize("path", ["/feeds/", "/unsubscribe/", "/api/v1/start/"])
def test_runserver_does_not_log_secret_addresses(path: str) -> None:
    args = (f"GET {path}s3cret.svg?x HTTP/1.1", "200", 5)
    record = logging.LogRecord("django.server", logging.INFO, "", 0, '"%s" %s %s', args, None)
    assert logging.getLogger("django.server").filter(record)
    assert record.getMessage() == f'"GET {path}********?x HTTP/1.1" 200 5'

"""The health check covers the database."""

from typing import Any

import pytest
from django.contrib import admin
from django.db import DataError, InterfaceError, OperationalError, connection
from django.http import HttpRequest
from django.test import Client


@pytest.mark.django_db
def test_a_database_that_responds_is_healthy(client: Client) -> None:
    response = client.get("/healthz")
    assert (response.status_code, response.content) == (200, b"ok\n")
    assert "no-store" in response["Cache-Control"]


def test_a_database_that_does_not_respond_is_503_without_details(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> None:
        raise OperationalError("password authentication failed for user jobs")

    monkeypatch.setattr(connection, "cursor", refuse)
    response = client.get("/healthz")
    assert (response.status_code, response.content) == (503, b"database: OperationalError\n")


@pytest.mark.parametrize("error", [OperationalError("gone"), InterfaceError("gone")])
def test_a_page_that_needs_the_database_reports_an_outage(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(request: HttpRequest) -> None:
        raise error

    monkeypatch.setattr(admin.site, "has_permission", refuse)
    response = Client(raise_request_exception=False).get("/admin/")
    assert (response.status_code, response["Retry-After"]) == (503, "10")
    assert b"The database cannot be used right now" in response.content
    assert b"gone" not in response.content


def test_any_other_error_is_an_ordinary_500(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(request: HttpRequest) -> None:
        raise DataError("too long")

    monkeypatch.setattr(admin.site, "has_permission", fail)
    assert Client(raise_request_exception=False).get("/admin/").status_code == 500


def test_it_is_read_only(client: Client) -> None:
    assert client.post("/healthz").status_code == 405

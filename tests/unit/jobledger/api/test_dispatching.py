"""Every answer of the API, also to what it does not know, is JSON; sessions do not count."""

import subprocess
import sys
from io import BytesIO
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from gunicorn.http.errors import InvalidChunkSize

from jobledger.api import limits
from jobledger.api.application import api
from jobledger.api.document import query_parameters
from jobledger.models import ApiClient as Address
from jobledger.models import ApiToken, Run, Status
from tests.unit.builders import override
from tests.unit.jobledger.admin.runs.ledger import create_run
from tests.unit.jobledger.api.client import ApiClient, make_owner, problem_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("broker")]


@pytest.mark.parametrize("path", ["", "nothing", "runs/1", "jobs/", "runs/../jobs"])
def test_an_unknown_address_is_a_problem(path: str) -> None:
    problem_of(ApiClient().send("get", path), 404)


def test_another_method_is_a_problem_that_names_the_right_one() -> None:
    response = ApiClient().send("delete", "jobs")
    assert "use GET" in problem_of(response, 405)["detail"]
    assert response["Allow"] == "GET, HEAD"


def test_a_nul_is_a_problem() -> None:
    problem_of(ApiClient().send("get", "runs?job=%00"), 400)
    problem_of(ApiClient().send("get", "jobs/%00"), 400)


def test_too_much_is_a_problem(settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    problem_of(ApiClient().send("post", "jobs/hello/runs", {"options": {"x": "y" * 100}}), 413)


def send_chunked(client: ApiClient, body: bytes, **environ: Any) -> Any:
    """As a server hands over a body without Content-Length: the input ends where the body ends."""
    return client.client.generic(
        "POST",
        "/api/v1/jobs/cleanup_tokens/runs",
        headers={"Authorization": f"Bearer {client.text}", "Transfer-Encoding": "chunked"},
        **{"wsgi.input": BytesIO(body), "wsgi.input_terminated": True, **environ},
    )


def test_a_body_without_a_length_is_read() -> None:
    response = send_chunked(ApiClient(), b'{"options": {"days": 7}}')
    assert (response.status_code, response.json()["options"]) == (201, {"days": 7})


def test_a_body_without_a_length_is_refused_by_a_server_that_cannot_read_it() -> None:
    response = send_chunked(ApiClient(), b"{}", **{"wsgi.input_terminated": False})
    assert "Content-Length" in problem_of(response, 411)["detail"]
    assert not Run.objects.exists()


def test_a_body_without_a_length_can_be_too_long(settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    assert send_chunked(ApiClient(), b" " * 98 + b"{}").status_code == 201
    problem_of(send_chunked(ApiClient(), b" " * 99 + b"{}"), 413)


@pytest.mark.parametrize("error", [OSError("no more data"), InvalidChunkSize(b"zz")])
def test_a_body_without_a_length_can_be_incomplete(error: Exception) -> None:
    class Broken(BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise error

    problem_of(send_chunked(ApiClient(), b"", **{"wsgi.input": Broken()}), 400)


def test_a_session_starts_nothing() -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(make_owner(is_superuser=True))
    for method in (browser.get, browser.post):
        problem_of(method("/api/v1/jobs/hello/runs" if method == browser.post else "/api/v1/jobs"), 401)  # type: ignore[arg-type]
    assert not Run.objects.exists()


def test_a_token_needs_no_csrf_token() -> None:
    client = ApiClient()
    client.client = Client(enforce_csrf_checks=True)
    client.post("jobs/hello/runs")


def test_a_project_that_requires_a_login_everywhere_is_no_obstacle(settings: Any) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    problem_of(Client().get("/api/v1/token"), 401)  # type: ignore[arg-type]
    ApiClient().get("token")


def test_answers_are_not_cached() -> None:
    assert "no-store" in ApiClient().send("get", "jobs")["Cache-Control"]


def test_an_unexpected_error_is_a_problem_that_says_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("jobledger.api.endpoints.jobs.may_see", fail)
    client = ApiClient()
    client.client.raise_request_exception = False
    response = client.send("get", "jobs")
    problem_of(response, 500)
    assert b"secret" not in response.content


def test_a_database_outage_is_temporary(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr("jobledger.api.endpoints.jobs.may_see", fail)
    client = ApiClient()
    client.client.raise_request_exception = False
    response = client.send("get", "jobs")
    assert "Nothing was changed" in problem_of(response, 503)["detail"]
    assert response["Retry-After"] == "10"


def test_what_the_database_has_not_answered_may_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr("jobledger.api.endpoints.jobs.start", fail)
    client = ApiClient()
    client.client.raise_request_exception = False
    response = client.send("post", "jobs/probe/runs", {})
    assert "may be saved, or not" in problem_of(response, 503)["detail"]


# --- Limits


def test_a_token_is_limited_in_each_minute(settings: Any, time_machine: Any) -> None:
    override(settings, API_REQUESTS_PER_MINUTE=2)
    time_machine.move_to("2026-11-30T23:59:40Z", tick=False)
    client = ApiClient()
    for _ in range(2):
        client.get("token")
    response = client.send("get", "token")
    assert "2 in a minute" in problem_of(response, 429)["detail"]
    assert response["Retry-After"] == "20"
    time_machine.move_to("2026-11-30T23:59:59.4Z", tick=False)
    response = client.send("get", "token")
    assert "Try again in 1 second." in problem_of(response, 429)["detail"]
    time_machine.move_to("2026-11-30T23:59:57.6Z", tick=False)
    assert client.send("get", "token")["Retry-After"] == "3"
    ApiClient(client.owner, name="other").get("token")
    time_machine.move_to("2026-12-01T00:00:00Z", tick=False)
    client.get("token")


def test_an_address_is_limited_whatever_it_sends(settings: Any) -> None:
    override(settings, API_ADDRESS_REQUESTS_PER_MINUTE=2)
    client, guesser = ApiClient(), Client()
    for _ in range(2):
        assert guesser.get("/api/v1/token").status_code in (401, 429)
    problem_of(client.send("get", "token"), 429)
    assert client.client.get("/api/v1/token", REMOTE_ADDR="10.0.0.2").status_code == 401


def test_the_address_is_the_projects_affair(settings: Any) -> None:
    override(settings, API_CLIENT_ADDRESS="tests.unit.jobledger.api.test_dispatching.same_address")
    ApiClient().get("token")
    assert Address.objects.get().address == "somewhere"


def same_address(request: object) -> str:
    return "somewhere"


def test_addresses_are_forgotten(time_machine: Any) -> None:
    time_machine.move_to("2026-11-30T12:00:00Z", tick=False)
    Client().get("/api/v1/token", REMOTE_ADDR="10.0.0.1")
    time_machine.move_to("2026-11-30T13:01:00Z", tick=False)
    Client().get("/api/v1/token", REMOTE_ADDR="10.0.0.2")
    assert Address.objects.get().address == "10.0.0.2"
    assert limits.KEPT.total_seconds() == 3600


def test_a_request_that_is_refused_is_not_counted() -> None:
    client = ApiClient()
    token = client.token
    assert ApiToken.objects.count_request(token.pk, 1, token.created_at)
    assert not ApiToken.objects.count_request(token.pk, 1, token.created_at)
    token.refresh_from_db()
    assert token.requests == 1


# --- What it costs those who do not use it

_LOAD = """
import django, sys
django.setup()
from django.core.checks import run_checks
from django.urls import reverse
run_checks()
reverse("jobledger_api:endpoint", kwargs={"path": "v1/jobs"})
sys.exit(" ".join(name for name in ("ninja", "pydantic") if name in sys.modules) or 0)
"""


def test_processes_that_only_load_the_urls_do_not_import_the_library() -> None:
    done = subprocess.run([sys.executable, "-c", _LOAD], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_the_library_the_project_is_told_what_to_install() -> None:
    code = (
        "import importlib.util as util; find = util.find_spec; "
        "util.find_spec = lambda name, *args: None if name == 'ninja' else find(name, *args); "
        "import django; django.setup(); import jobledger.api.urls"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install django-jobledger[api]" in done.stderr


# --- Methods and parameters


def test_a_head_request_gets_the_headers_of_a_get_request() -> None:
    client, run = ApiClient(), create_run(status=Status.SUCCEEDED)
    for path in ("jobs", "openapi.json", f"runs/{run.pk}", f"runs/{run.pk}/log", "runs?limit=0", "nothing"):
        head, get = (client.send(method, path) for method in ("head", "get"))
        assert head.status_code == get.status_code
        assert head["Content-Type"] == get["Content-Type"]
        assert head.content == b""
        assert get.streaming or head["Content-Length"] == str(len(get.content))


def test_a_parameter_that_there_is_not_is_a_problem() -> None:
    problem = problem_of(ApiClient().send("get", "runs?jbo=hello&limit=5"), 422)
    (error,) = problem["errors"]
    assert error["location"] == "query.jbo"
    assert error["detail"].startswith("There is no such parameter here; there are job, status, ")
    for method, path in (("get", "schedules/1?x"), ("get", "token?x"), ("post", "jobs/hello/runs?days=7")):
        assert problem_of(ApiClient().send(method, path), 422)
    assert not Run.objects.exists()


def test_every_path_knows_its_parameters() -> None:
    known = query_parameters(api)
    names = {getattr(each, "name", "") for each in api.urls[0]}
    assert names - {"api-root"} == known.keys()
    assert known["list_runs"]["GET"][:2] == ["job", "status"]
    assert known["change_schedule"] == known["show_schedule"] == {"GET": ["next"], "PUT": [], "DELETE": []}

"""The OpenAPI document is valid, and describes what is answered."""

from typing import Any

import pytest
from django.test import Client
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from jobledger.api import schemas
from jobledger.models import Run, RunAttempt, Status
from jobledger.runs import run_json
from jobledger.schedules.documents.keys import KEYS
from tests.manual import ROOT, rows
from tests.unit.jobledger.admin.runs.ledger import create_run
from tests.unit.jobledger.api.client import ApiClient
from tests.unit.jobledger.schedules.builders import NOON, hourly

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("broker")]


@pytest.fixture
def document() -> Any:
    response = Client().get("/api/v1/openapi.json")
    assert response.status_code == 200
    return response.json()


def test_it_is_valid_and_needs_no_token(document: Any) -> None:
    OpenAPIV31SpecValidator(document).validate()
    assert document["servers"] == [{"url": "http://testserver/api/v1"}]
    assert "/jobs/{name}/runs" in document["paths"]


def test_every_operation_says_who_may_call_it_and_what_it_does(document: Any) -> None:
    operations = {
        (path, method): found
        for path, methods in document["paths"].items()
        for method, found in methods.items()
    }
    public = {key for key, found in operations.items() if "security" not in found}
    assert public == {("/openapi.json", "get"), ("/start/{token}", "post")}
    assert {str(found["security"]) for key, found in operations.items() if key not in public} == {
        "[{'Token': []}]"
    }
    assert all(found["summary"] and found["description"] for found in operations.values())
    assert len({found["operationId"] for found in operations.values()}) == len(operations)


def test_every_operation_names_the_errors_that_it_may_answer(document: Any) -> None:
    operations = [found for methods in document["paths"].values() for found in methods.values()]
    for found in operations:
        statuses = {"429", "503", "default"}
        statuses |= {"400", "401", "403", "404", "422"} if "security" in found else set()
        statuses |= {"411", "413"} if "requestBody" in found else set()
        assert statuses <= found["responses"].keys()
        for status in statuses:
            assert list(found["responses"][status]["content"]) == ["application/problem+json"]


def test_the_reference_names_every_endpoint(document: Any) -> None:
    described = rows(ROOT / "docs" / "reference" / "http-api.md", "## Endpoints")
    named = {(method.strip("`"), path.strip("`")) for method, path, *_ in described}
    assert named == {(method.upper(), path) for path, found in document["paths"].items() for method in found}


def test_headers_are_named_as_they_are_sent(document: Any) -> None:
    paths = {"/jobs/{name}/runs": "post", "/schedules/{schedule_id}": "put"}
    names = [
        found["name"].lower()
        for path, method in paths.items()
        for found in document["paths"][path][method]["parameters"]
        if found["in"] == "header"
    ]
    assert names == ["idempotency-key", "if-match"]


def test_answers_are_as_described(document: Any) -> None:
    run, schedule, client = create_run(status=Status.FAILED, error="It failed."), hourly(), ApiClient()
    RunAttempt.objects.create(run=run, attempt=1, status=Status.FAILED, finished_at=NOON)
    paths = {
        "/jobs": "jobs",
        "/jobs/{name}": "jobs/hello",
        "/runs": "runs",
        "/runs/{run_id}": f"runs/{run.pk}",
        "/runs/{run_id}/output": f"runs/{run.pk}/output",
        "/schedules": "schedules",
        "/schedules/{schedule_id}": f"schedules/{schedule.pk}",
        "/service": "service",
        "/token": "token",
    }
    for path, url in paths.items():
        content = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]
        schema = {**content["schema"], "components": document["components"]}
        Draft202012Validator(schema).validate(client.get(url))
    problem = {"$ref": "#/components/schemas/Problem", "components": document["components"]}
    answer: Any = client.send("get", "runs?limit=0")
    Draft202012Validator(problem).validate(answer.json())


def test_runs_have_all_fields_that_the_commands_print() -> None:
    run = create_run()
    RunAttempt.objects.create(run=run, attempt=1, status=Status.FAILED, finished_at=NOON)
    found = run_json.in_detail(Run.objects.get())
    assert set(schemas.RunDetails.model_fields) == {*found, "url"}
    assert set(schemas.Run.model_fields) == {*run_json.as_json(run), "url"}
    assert set(schemas.Attempt.model_fields) == set(found["attempts"][0])


def test_a_schedule_has_the_keys_of_a_file(document: Any) -> None:
    assert set(document["components"]["schemas"]["ScheduleIn"]["properties"]) == {"name", *KEYS}

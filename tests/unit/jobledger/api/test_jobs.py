"""Jobs through the API: listed with their options, started once, paused."""

import pytest
from django.contrib.auth.models import Permission

from jobledger.admin import rights
from jobledger.jobs.secrets import MASK
from jobledger.models import AuditEntry, Run, Scope
from tests.unit.broker import Broker
from tests.unit.jobledger.api.client import ApiClient, make_owner, problem_of
from tests.unit.jobledger.schedules.builders import hourly

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("broker")]

START = "jobs/cleanup_tokens/runs"


def test_jobs_are_listed_with_their_options() -> None:
    jobs = {job["name"]: job for job in ApiClient().get("jobs")["jobs"]}
    options = {option["name"]: option for option in jobs["cleanup_tokens"]["options"]}
    assert options["days"]["flags"] == "--days DAYS"
    assert jobs["cleanup_tokens"]["task"] == "tasks_app.cleanup_tokens"
    assert jobs["cleanup_tokens"] == ApiClient().get("jobs/tasks_app.cleanup_tokens")


def test_an_owner_sees_only_what_the_admin_would_show() -> None:
    assert ApiClient(make_owner()).get("jobs") == {"jobs": []}
    viewer = ApiClient(make_owner(["jobledger.view_run"]))
    assert not viewer.get("jobs/cleanup_tokens")["may_start"]
    problem = problem_of(viewer.send("post", START, {}), 403)
    assert problem["detail"] == "The token's owner may not start cleanup_tokens."
    assert not Run.objects.exists()


def test_an_owner_does_not_learn_the_names_of_other_jobs() -> None:
    owner = make_owner()
    rights.create_groups()
    owner.user_permissions.add(Permission.objects.get(codename="start_job_hello"))
    for each, names in ((owner, "hello"), (make_owner(), "")):
        for method, path in (("get", "jobs/{}"), ("post", "jobs/{}/runs")):
            details = {
                problem_of(ApiClient(each, name=f"{method} {name}").send(method, path.format(name)), 404)[
                    "detail"
                ].replace(name, "…")
                for name in ("cleanup_tokens", "nosuch")
            }
            existing = f" Existing jobs: {names}." if names else ""
            assert details == {f"There is no job '…' that the token's owner may see.{existing}"}


def test_a_job_is_started_without_a_body() -> None:
    assert ApiClient().send("post", "jobs/hello/runs").status_code == 201


def test_a_started_run_is_queued_for_the_owner_and_has_its_addresses(broker: Broker) -> None:
    client = ApiClient()
    response = client.send("post", START, {"options": {"days": 7}})
    started = response.json()  # type: ignore[attr-defined]
    run = Run.objects.get()
    assert (response.status_code, started["id"], run.options) == (201, str(run.pk), {"days": 7})
    assert (run.trigger, run.username, run.user) == ("api", client.owner.username, client.owner)
    assert response["Location"] == started["url"] == f"http://testserver/api/v1/runs/{run.pk}"
    assert client.client.get(started["page"]).status_code == 302


def test_the_audit_log_has_the_name_of_the_token() -> None:
    client = ApiClient(name="nightly build")
    client.post(START, {"options": {"days": 7}})
    entry = AuditEntry.objects.get(object_type="jobledger.run")
    assert (entry.token, entry.username) == ("nightly build", client.owner.username)
    assert entry.text == "Started manage.py cleanup_tokens --days 7."


def test_options_are_validated_by_the_commands_parser() -> None:
    problem = problem_of(ApiClient().send("post", START, {"options": {"days": "many"}}), 422)
    (error,) = problem["errors"]
    assert error["location"] == "body.options.days"
    assert "is not a whole number" in error["detail"]
    problem = problem_of(ApiClient().send("post", START, {"options": {"dys": 1}}), 422)
    assert "valid options are: days" in problem["detail"]
    assert not Run.objects.exists()


def test_a_number_that_is_too_large_is_not_valid() -> None:
    problem = problem_of(ApiClient().send("post", START, {"options": {"days": 10**400}}), 422)
    assert "days: expected a number below 1.8e308" in problem["errors"][0]["detail"]


def test_a_mask_is_not_taken_for_a_secret() -> None:
    problem = problem_of(ApiClient().send("post", START, {"options": {"days": MASK}}), 422)
    assert "there is none here" in problem["detail"]


def test_what_is_not_an_object_or_has_other_fields_is_an_error() -> None:
    problem = problem_of(ApiClient().send("post", START, {"option": {}}), 422)
    assert problem["errors"] == [{"location": "body.option", "detail": "There is no such field here."}]
    client = ApiClient()
    headers = {"Authorization": f"Bearer {client.text}"}
    for text in ("{", "[NaN]", '{"options": {"days": NaN}}', '{"options": {"days": 1e999}}'):
        response = client.client.post(
            f"/api/v1/{START}", data=text, content_type="application/json", headers=headers
        )
        problem_of(response, 400)  # type: ignore[arg-type]
    assert not Run.objects.exists()


def test_an_unknown_job_is_named_with_similar_ones() -> None:
    problem = problem_of(ApiClient().send("post", "jobs/cleanup_token/runs", {}), 404)
    assert "Did you mean cleanup_tokens?" in problem["detail"]


def test_a_repeated_request_starts_nothing_twice() -> None:
    client, key = ApiClient(), {"Idempotency-Key": "build-17"}
    first = client.send("post", START, {"options": {"days": 7}}, **key)
    second = client.send("post", START, {"options": {"days": 7}}, **key)
    assert (first.status_code, second.status_code) == (201, 200)
    assert second["Idempotency-Replayed"] == "true"
    assert first.json()["id"] == second.json()["id"]  # type: ignore[attr-defined]
    assert (Run.objects.count(), AuditEntry.objects.filter(object_type="jobledger.run").count()) == (1, 1)


@pytest.mark.parametrize("value", [12345678901234567890.123, 1e300, 0.1, -0.0])
def test_a_repeated_number_is_the_same_however_the_database_stores_it(value: float) -> None:
    client, key = ApiClient(), {"Idempotency-Key": "build-17"}
    body = {"options": {"seconds": value}}
    first = client.post("jobs/lasting/runs", body, **key)
    assert client.post("jobs/lasting/runs", body, **key)["id"] == first["id"]


def test_a_key_is_for_one_request_of_one_token() -> None:
    client, key = ApiClient(), {"Idempotency-Key": "build-17"}
    client.post(START, {"options": {"days": 7}}, **key)
    problem = problem_of(client.send("post", START, {"options": {"days": 8}}, **key), 422)
    assert "use a new one for each" in problem["detail"]
    ApiClient(client.owner, name="other").post(START, {"options": {"days": 8}}, **key)
    assert Run.objects.count() == 2


def test_a_token_for_reading_changes_nothing() -> None:
    client = ApiClient(scope=Scope.READ)
    assert client.get("jobs/hello")["may_start"]
    problem = problem_of(client.send("post", "jobs/hello/runs", {}), 403)
    assert "for reading only" in problem["detail"]
    assert not Run.objects.exists()


def test_all_schedules_of_a_job_are_paused_and_resumed() -> None:
    client = ApiClient()
    hourly("one")
    hourly("two")
    hourly("other", task="tasks_app.hello")
    done = client.post("jobs/probe/pause", {"duration": "2h", "reason": "moving"})
    assert done["schedules"] == ["one", "two"]
    states = client.get("schedules")["schedules"]
    assert [(each["name"], [pause["reason"] for pause in each["pauses"]]) for each in states] == [
        ("one", ["moving"]),
        ("other", []),
        ("two", ["moving"]),
    ]
    assert sorted(client.post("jobs/probe/resume")["schedules"]) == ["one", "two"]
    assert {entry.token for entry in AuditEntry.objects.filter(text__startswith="Resumed")} == {"ci"}


@pytest.mark.parametrize(
    ("terms", "location"),
    [
        ({"duration": "soon"}, "body.duration"),
        ({"duration": "0s"}, "body.duration"),
        ({"until": "2001-01-01T00:00:00Z"}, "body.until"),
        ({"until": "2099-01-01T00:00:00Z", "duration": "2h"}, "body.until"),
        ({"reason": "a\0b"}, "body.reason"),
    ],
)
def test_the_terms_of_a_pause_are_validated(terms: dict[str, str], location: str) -> None:
    problem = problem_of(ApiClient().send("post", "service/pause", terms), 422)
    assert [each["location"] for each in problem["errors"]] == [location]

"""Schedules through the API, in the form of an exported file."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django_celery_beat.models import ClockedSchedule, PeriodicTask
from pytest_django import DjangoAssertNumQueries

from jobledger.models import AlertRule, AuditEntry, Run
from tests.unit.jobledger.admin.schedules.schedules import unreadable
from tests.unit.jobledger.api.client import ApiClient, make_owner, problem_of
from tests.unit.jobledger.schedules.builders import hourly

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("broker")]

NIGHTLY = {
    "name": "nightly/1",
    "job": "cleanup_tokens",
    "options": {"days": 30},
    "cron": "0 3 * * *",
    "timezone": "Europe/London",
}
EDITOR = (
    "django_celery_beat.view_periodictask",
    "django_celery_beat.change_periodictask",
    "django_celery_beat.add_periodictask",
)


def document() -> dict[str, Any]:
    return {name: value for name, value in NIGHTLY.items() if name != "name"}


def test_a_created_schedule_is_as_in_a_file_and_has_next_times() -> None:
    client = ApiClient()
    response = client.send("post", "schedules", NIGHTLY)
    created = response.json()  # type: ignore[attr-defined]
    assert (response.status_code, response["Location"]) == (201, created["url"])
    assert (created["document"], created["name"], created["enabled"]) == (document(), "nightly/1", True)
    assert len(created["next_runs"]) == 5
    assert created["next_run"] == created["next_runs"][0]
    assert client.get(f"schedules/{created['id']}?next=2")["next_runs"] == created["next_runs"][:2]
    entry = AuditEntry.objects.get(object_type="django_celery_beat.periodictask")
    assert (entry.verb, entry.token) == ("added", "ci")


def test_a_schedule_is_created_once() -> None:
    client = ApiClient()
    created = client.post("schedules", NIGHTLY)
    problem = problem_of(client.send("post", "schedules", NIGHTLY), 409)
    assert problem["schedule"] == created["url"]


@pytest.mark.parametrize(
    ("change", "location"),
    [
        ({"cron": "61 3 * * *"}, "body.cron"),
        ({"options": {"days": "many"}}, "body.options"),
        ({"cronn": "0 3 * * *"}, "body.cronn"),
        ({"enabled": "yes"}, "body.enabled"),
        ({"job": "cleanup_token"}, "body.job"),
        ({"timezone": "Mars/Olympus"}, "body.timezone"),
        ({"declared_as": "a\0"}, "body.declared_as"),
        ({"alert_rules": {"a": {"destinations": ["a\0"]}}}, "body.alert_rules.a.destinations"),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_schedule_is_named(change: dict[str, Any], location: str) -> None:
    problem = problem_of(ApiClient().send("post", "schedules", {**NIGHTLY, **change}), 422)
    assert location in [each["location"] for each in problem["errors"]]
    assert not PeriodicTask.objects.exists()


def test_the_detail_is_one_sentence() -> None:
    body = {"name": "after others", "job": "hello", "after": ["no such schedule"]}
    detail = problem_of(ApiClient().send("post", "schedules", body), 422)["detail"]
    assert detail == "The schedule is not valid: body.after: There is no schedule “no such schedule”."


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_what_is_wrong_with_a_name_is_named(name: str) -> None:
    problem = problem_of(ApiClient().send("post", "schedules", {**NIGHTLY, "name": name}), 422)
    assert [each["location"] for each in problem["errors"]] == ["body.name"]


def test_a_changed_schedule_becomes_what_was_sent() -> None:
    client = ApiClient()
    created = client.post("schedules", {**NIGHTLY, "description": "at night"})
    body = {**NIGHTLY, "cron": "0 4 * * *", "enabled": False}
    assert client.send("put", f"schedules/{created['id']}", body).status_code == 200
    changed = client.get(f"schedules/{created['id']}")
    assert changed["document"] == {**document(), "cron": "0 4 * * *", "enabled": False}
    assert AuditEntry.objects.filter(verb="changed", token="ci").count() == 1


def test_a_change_is_not_saved_over_another_one() -> None:
    client = ApiClient()
    url = f"schedules/{client.post('schedules', NIGHTLY)['id']}"
    etag = client.send("get", url)["ETag"]
    seen = {"If-Match": etag}
    assert client.send("put", url, {**NIGHTLY, "cron": "0 4 * * *"}, **seen).status_code == 200
    problem = problem_of(client.send("put", url, {**NIGHTLY, "cron": "0 5 * * *"}, **seen), 412)
    assert "Read it again" in problem["detail"]
    assert client.get(url)["document"]["cron"] == "0 4 * * *"


def test_a_schedule_that_was_changed_is_not_deleted() -> None:
    client = ApiClient()
    url = f"schedules/{client.post('schedules', NIGHTLY)['id']}"
    seen = {"If-Match": client.send("get", url)["ETag"]}
    client.send("put", url, {**NIGHTLY, "cron": "0 4 * * *"})
    problem = problem_of(client.send("delete", url, **seen), 412)
    assert "Nothing was deleted" in problem["detail"]
    seen = {"If-Match": client.send("get", url)["ETag"]}
    assert client.send("delete", url, **seen).status_code == 204


def test_a_single_time_that_has_passed_is_refused_unless_it_is_stored() -> None:
    client, once = ApiClient(), {"name": "once", "job": "hello", "at": "2001-01-01T12:00:00Z"}
    problem = problem_of(client.send("post", "schedules", once), 422)
    (error,) = problem["errors"]
    assert error["location"] == "body.at"
    assert "never start a run" in error["detail"]
    created = client.post("schedules", {**once, "enabled": False})
    ClockedSchedule.objects.update(clocked_time=datetime(2002, 1, 1, tzinfo=UTC))
    stored = client.get(f"schedules/{created['id']}")["document"]
    body = {**stored, "name": "once", "enabled": True, "description": "over"}
    assert client.send("put", f"schedules/{created['id']}", body).status_code == 200


def test_a_pause_needs_no_terms() -> None:
    schedule, client = hourly(), ApiClient()
    for path in (f"schedules/{schedule.pk}", "jobs/probe", "service"):
        assert client.send("post", f"{path}/pause").status_code == 200


def test_a_job_that_there_is_not_is_no_filter() -> None:
    problem = problem_of(ApiClient().send("get", "schedules?job=nosuch"), 422)
    assert [each["location"] for each in problem["errors"]] == ["query.job"]
    hourly("orphan", task="gone.away")
    assert [each["name"] for each in ApiClient().get("schedules?job=gone.away")["schedules"]] == ["orphan"]


def test_a_schedule_of_a_job_that_the_owner_may_not_start_is_not_run() -> None:
    viewer = ApiClient(make_owner(["django_celery_beat.view_periodictask"]))
    problem = problem_of(viewer.send("post", f"schedules/{hourly().pk}/runs"), 403)
    assert problem["detail"] == "The token's owner may not start probe."


def test_a_schedule_is_renamed() -> None:
    client = ApiClient()
    created = client.post("schedules", {**NIGHTLY, "ping_url": "https://example.com/ping/secret"})
    later = client.post("schedules", {"name": "later", "job": "hello", "after": [NIGHTLY["name"]]})
    url = f"schedules/{created['id']}"
    seen = {"If-Match": client.send("get", url)["ETag"]}
    body = {**client.get(url)["document"], "name": "other"}
    assert client.send("put", url, body, **seen).status_code == 200
    assert client.get(url)["name"] == "other"
    assert PeriodicTask.objects.get(name="other").policy.ping_url.endswith("secret")
    assert client.get(f"schedules/{later['id']}")["document"]["after"] == ["other"]
    entry = AuditEntry.objects.get(verb="changed")
    assert [change[1:] for change in entry.changes] == [["nightly/1", "other"]]
    problem_of(client.send("put", url, {**body, "name": "third"}, **seen), 412)


def test_a_schedule_does_not_get_the_name_of_another() -> None:
    client, other = ApiClient(), hourly("other")
    created = client.post("schedules", NIGHTLY)
    problem = problem_of(client.send("put", f"schedules/{created['id']}", {**NIGHTLY, "name": "other"}), 409)
    assert problem["schedule"] == f"http://testserver/api/v1/schedules/{other.pk}"
    assert {each.name for each in PeriodicTask.objects.all()} == {"other", "nightly/1"}


def test_masked_secrets_are_kept() -> None:
    client = ApiClient()
    body = {**NIGHTLY, "ping_url": "https://example.com/ping/secret"}
    created = client.post("schedules", body)
    assert created["document"]["ping_url"] == "********"
    client.send("put", f"schedules/{created['id']}", {**created["document"], "name": NIGHTLY["name"]})
    assert PeriodicTask.objects.get().policy.ping_url == body["ping_url"]


def test_other_schedules_are_left_alone() -> None:
    hourly("other")
    ApiClient().post("schedules", NIGHTLY)
    assert PeriodicTask.objects.filter(name="other").exists()


def test_a_deleted_schedule_is_in_the_audit_log() -> None:
    client = ApiClient()
    created = client.post("schedules", NIGHTLY)
    assert client.send("delete", f"schedules/{created['id']}").status_code == 204
    assert AuditEntry.objects.filter(verb="deleted", object_name="nightly/1").exists()
    problem_of(client.send("get", f"schedules/{created['id']}"), 404)
    problem_of(client.send("get", f"schedules/{10**30}"), 404)


def test_schedules_are_listed_page_by_page_in_a_fixed_number_of_queries(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(7):
        hourly(f"each {number}")
    client = ApiClient()
    first = client.get("schedules?limit=5")
    with django_assert_num_queries(11):
        client.get("schedules?limit=2")
    with django_assert_num_queries(11):
        rest = client.get(f"schedules?limit=5&cursor={first['next_cursor']}")
    names = [each["name"] for page in (first, rest) for each in page["schedules"]]
    assert (names, rest["next_cursor"]) == ([f"each {number}" for number in range(7)], None)


def test_schedules_are_found_by_name_job_and_state() -> None:
    client = ApiClient()
    hourly("one")
    hourly("two", enabled=False)
    client.post("schedules", NIGHTLY)
    for query, names in {
        "name=one": ["one"],
        "job=probe": ["one", "two"],
        "enabled=false": ["two"],
        "name=nightly%2F1": ["nightly/1"],
    }.items():
        assert [each["name"] for each in client.get(f"schedules?{query}")["schedules"]] == names


def test_a_schedule_that_cannot_be_read_is_listed_with_its_problem() -> None:
    schedule = unreadable(hourly())
    found = ApiClient().get(f"schedules/{schedule.pk}")
    assert (found["document"], found["next_runs"]) == (None, [])
    assert found["problem"]


def test_disabling_and_enabling_is_logged_once() -> None:
    schedule, client = hourly(), ApiClient()
    changed = [client.post(f"schedules/{schedule.pk}/disable")["changed"] for _ in range(2)]
    assert changed == [True, False]
    assert client.post(f"schedules/{schedule.pk}/enable")["changed"]
    texts = AuditEntry.objects.filter(token="ci", object_type="django_celery_beat.periodictask")
    assert [each.text for each in texts.order_by("pk")] == ["Disabled.", "Enabled."]


def test_a_schedule_is_run_once_for_each_key() -> None:
    schedule, client = hourly(), ApiClient()
    key = {"Idempotency-Key": "now"}
    runs = [client.post(f"schedules/{schedule.pk}/runs", **key)["id"] for _ in range(2)]
    run = Run.objects.get()
    assert runs == [str(run.pk)] * 2
    assert (run.schedule_id, run.trigger) == (schedule.pk, "api")


def test_the_service_is_paused_and_resumed() -> None:
    schedule, client = hourly(), ApiClient()
    client.post(f"schedules/{schedule.pk}/pause", {"until": "2099-01-01T00:00:00+01:00"})
    client.post("service/pause", {"reason": "database moves"})
    pauses = client.get(f"schedules/{schedule.pk}")["pauses"]
    assert [(each["of_service"], each["until"]) for each in pauses] == [
        (False, "2098-12-31T23:00:00Z"),
        (True, None),
    ]
    assert client.get("service")["pauses"][0]["reason"] == "database moves"
    (still,) = client.post(f"schedules/{schedule.pk}/resume")["still_paused"]
    assert "database moves" in still
    client.post("service/resume")
    assert client.get("service")["pauses"] == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("post", "schedules"),
        ("put", "schedules/{}"),
        ("delete", "schedules/{}"),
        ("post", "schedules/{}/enable"),
        ("post", "schedules/{}/pause"),
        ("post", "schedules/{}/resume"),
        ("post", "schedules/{}/runs"),
        ("post", "jobs/probe/pause"),
        ("post", "service/pause"),
        ("post", "service/resume"),
    ],
)
def test_each_change_needs_its_own_permission(method: str, path: str) -> None:
    viewer = ApiClient(make_owner(["jobledger.view_run", "django_celery_beat.view_periodictask"]))
    body = NIGHTLY if method == "put" or path == "schedules" else {}
    problem_of(viewer.send(method, path.format(hourly().pk), body), 403)


def test_alert_rules_need_the_permissions_for_alert_rules() -> None:
    with_rule = {**NIGHTLY, "alert_rules": {"mine": {}}}
    problem = problem_of(ApiClient(make_owner(EDITOR)).send("post", "schedules", with_rule), 403)
    assert "alert rules" in problem["detail"]
    ApiClient(make_owner(EDITOR)).post("schedules", NIGHTLY)
    url = f"schedules/{PeriodicTask.objects.get().pk}"
    problem_of(ApiClient(make_owner(EDITOR)).send("put", url, with_rule), 403)
    assert not AlertRule.objects.filter(name="mine").exists()
    assert ApiClient().send("put", url, with_rule).status_code == 200
    problem_of(ApiClient(make_owner(EDITOR)).send("put", url, NIGHTLY), 403)

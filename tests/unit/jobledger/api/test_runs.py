"""Runs through the API: found page by page, shown with their output, cancelled, run again."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from jobledger.models import AuditEntry, Run, RunOutput, Status
from tests.unit.jobledger.admin.runs.ledger import create_run
from tests.unit.jobledger.api.client import ApiClient, make_owner, problem_of
from tests.unit.jobledger.schedules.builders import hourly

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("broker")]

QUERIES = 8
"""Two count requests, one recognizes the token, the others find a page."""


def ids(page: Any) -> list[str]:
    return [run["id"] for run in page["runs"]]


def test_runs_are_listed_newest_first_page_by_page() -> None:
    runs = [create_run(minutes=number) for number in range(5)]
    client = ApiClient()
    first = client.get("runs?limit=2")
    second = client.get(f"runs?limit=2&cursor={first['next_cursor']}")
    last = client.get(f"runs?limit=2&cursor={second['next_cursor']}")
    assert [*ids(first), *ids(second), *ids(last)] == [
        str(run.pk) for run in sorted(runs, key=lambda run: run.queued_at, reverse=True)
    ]
    assert last["next_cursor"] is None


def test_filters_are_those_of_the_command() -> None:
    schedule = hourly()
    failed = create_run(status=Status.FAILED, schedule=schedule)
    create_run(job="hello")
    client = ApiClient()
    for query in ("status=failed&status=lost", "job=probe", f"schedule={schedule.pk}&status=failed"):
        assert ids(client.get(f"runs?{query}")) == [str(failed.pk)]
    assert ids(client.get("runs?trigger=api")) == []


def test_runs_are_found_by_when_they_were_queued() -> None:
    old = create_run(queued_at=timezone.now() - timedelta(days=3))
    new = create_run(queued_at=timezone.now() - timedelta(hours=1))
    client = ApiClient()
    assert ids(client.get("runs?since=2d")) == [str(new.pk)]
    assert ids(client.get("runs?until=2d")) == [str(old.pk)]


@pytest.mark.parametrize(
    ("query", "location"),
    [
        ("job=no_such_job", "query.job"),
        ("since=yesterdayish", "query.since"),
        ("cursor=here", "query.cursor"),
        ("status=done", "query.status.0"),
        ("limit=1000", "query.limit"),
        (f"schedule={2**63}", "query.schedule"),
    ],
)
def test_what_is_wrong_with_a_query_is_named(query: str, location: str) -> None:
    problem = problem_of(ApiClient().send("get", f"runs?{query}"), 422)
    assert [each["location"] for each in problem["errors"]] == [location]


@pytest.mark.parametrize("count", [1, 40])
def test_the_number_of_queries_does_not_depend_on_the_number_of_runs(
    count: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(count):
        create_run(minutes=number, status=Status.FAILED, error="It failed.")
    client = ApiClient()
    client.get("runs")
    with django_assert_num_queries(QUERIES - 3):
        client.get("runs?limit=100")
    with django_assert_num_queries(QUERIES - 3):
        client.get("runs?job=probe")


def test_who_may_not_see_runs_is_told_nothing() -> None:
    run, client = create_run(), ApiClient(make_owner(["jobledger.start_run"]))
    for path in ("runs", f"runs/{run.pk}", f"runs/{run.pk}/output", f"runs/{run.pk}/log"):
        assert "may not see runs" in problem_of(client.send("get", path), 403)["detail"]


def test_a_run_is_shown_with_everything_but_its_output() -> None:
    run = create_run(status=Status.FAILED, error="It failed.", username="bob", options={"password": "x"})
    found = ApiClient().get(f"runs/{run.pk}")
    assert (found["status"], found["user"], found["attempts"]) == ("failed", "bob", [])
    assert found["options"] == {"password": "********"}
    assert "output" not in found
    problem_of(ApiClient().send("get", f"runs/{uuid4()}"), 404)


def test_output_is_read_to_its_end_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobledger.api.endpoints.runs.MAX_PIECES", 2)
    run, client = create_run(status=Status.RUNNING), ApiClient()
    for number in range(3):
        RunOutput.objects.create(run=run, number=number, stream="stdout", text=f"{number}\n")
    first = client.get(f"runs/{run.pk}/output")
    rest = client.get(f"runs/{run.pk}/output?cursor={first['next_cursor']}")
    texts = [piece["text"] for piece in [*first["pieces"], *rest["pieces"]]]
    assert (texts, rest["is_complete"]) == (["0\n", "1\n", "2\n"], False)
    Run.objects.update(status=Status.SUCCEEDED)
    nothing = client.get(f"runs/{run.pk}/output?cursor={rest['next_cursor']}")
    assert (nothing["pieces"], nothing["is_complete"]) == ([], True)


def test_a_log_is_plain_text() -> None:
    run, client = create_run(), ApiClient()
    RunOutput.objects.create(run=run, number=0, stream="stdout", text="<b>done\n")
    response: Any = client.send("get", f"runs/{run.pk}/log")
    assert b"".join(response.streaming_content) == b"<b>done\n"
    assert response["Content-Type"] == "text/plain; charset=utf-8"


def test_a_cancelled_run_says_who_did_it_and_why() -> None:
    run, client = create_run(status=Status.RUNNING), ApiClient()
    done = client.post(f"runs/{run.pk}/cancel", {"reason": "wrong day"})
    again = client.post(f"runs/{run.pk}/cancel")
    assert (done["requested"], again["requested"]) == (True, False)
    found = client.get(f"runs/{run.pk}")
    assert found["cancelled_by"] == f"{client.owner.username} (wrong day)"
    assert found["reason_details"]["comment"] == "wrong day"
    entry = AuditEntry.objects.get(object_id=str(run.pk))
    assert (entry.text, entry.token) == ("Cancelled: wrong day", "ci")


def test_a_reason_need_not_be_given() -> None:
    run = create_run(status=Status.RUNNING)
    assert ApiClient().send("post", f"runs/{run.pk}/cancel").status_code == 200


def test_an_id_may_have_capital_letters() -> None:
    run = create_run()
    assert ApiClient().get(f"runs/{str(run.pk).upper()}")["id"] == str(run.pk)


def test_a_reason_that_a_database_cannot_store_cancels_nothing() -> None:
    run = create_run(status=Status.QUEUED)
    problem = problem_of(ApiClient().send("post", f"runs/{run.pk}/cancel", {"reason": "a\0b"}), 422)
    assert problem["errors"] == [
        {"location": "body.reason", "detail": "It contains a NUL character; leave it out."}
    ]
    run.refresh_from_db()
    assert run.status == Status.QUEUED


def test_a_run_that_is_over_cannot_be_cancelled() -> None:
    run = create_run(status=Status.SUCCEEDED)
    assert "already over" in problem_of(ApiClient().send("post", f"runs/{run.pk}/cancel", {}), 409)["detail"]


def test_cancelling_needs_the_permission_to_cancel() -> None:
    run, viewer = create_run(status=Status.RUNNING), ApiClient(make_owner(["jobledger.view_run"]))
    problem_of(viewer.send("post", f"runs/{run.pk}/cancel", {}), 403)
    assert not Run.objects.filter(cancel_requested_at__isnull=False).exists()


def test_a_run_is_repeated_once_for_each_key() -> None:
    run, client = create_run(options={"level": 3}), ApiClient()
    key = {"Idempotency-Key": "again"}
    first = client.post(f"runs/{run.pk}/again", **key)
    second = client.post(f"runs/{run.pk}/again", **key)
    assert first["id"] == second["id"] != str(run.pk)
    assert first["options"] == {"level": 3}
    assert Run.objects.count() == 2


def test_a_key_is_for_the_repetition_of_one_run() -> None:
    client, key = ApiClient(), {"Idempotency-Key": "k"}
    first = client.post("jobs/hello/runs", **key)
    Run.objects.update(status=Status.SUCCEEDED)
    other, others = create_run(job="hello"), {"Idempotency-Key": "l"}
    again = client.post(f"runs/{first['id']}/again", **others)
    assert again["id"] == client.post(f"runs/{first['id']}/again", **others)["id"]
    for path, used in (
        (f"runs/{other.pk}/again", others),
        ("jobs/hello/runs", others),
        (f"runs/{first['id']}/again", key),
    ):
        problem = problem_of(client.send("post", path, {}, **used), 422)
        assert "used for another request" in problem["detail"]
    assert Run.objects.count() == 3


def test_a_live_run_is_not_repeated() -> None:
    run = create_run(status=Status.RUNNING)
    problem = problem_of(ApiClient().send("post", f"runs/{run.pk}/again", {}), 409)
    assert "still running" in problem["detail"]


def test_a_run_of_another_version_is_listed_but_not_asked_for() -> None:
    client = ApiClient()
    Run.objects.create(job="probe", trigger="telepathy", status="reborn")
    (found,) = client.get("runs")["runs"]
    assert (found["trigger"], found["status"]) == ("telepathy", "reborn")
    problem = problem_of(client.send("get", "runs?status=reborn"), 422)
    assert "'queued', 'running'" in str(problem["errors"])

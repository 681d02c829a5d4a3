"""The filters above the list of runs."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Permission, User
from django.http import QueryDict
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import DjangoAssertNumQueries

from jobledger.admin.runs import listing
from jobledger.admin.runs.listing import RunFilterForm
from jobledger.admin.runs.search import RunQuery
from jobledger.jobs import registry
from jobledger.models import FAILURES, PROBLEMS
from tests.unit.builders import NOON
from tests.unit.jobledger.admin.runs.ledger import create_run, schedule

pytestmark = pytest.mark.django_db


def query_of(**query: str) -> RunQuery:
    return form(**query).run_query(NOON)


def form(**query: str) -> RunFilterForm:
    data = QueryDict(mutable=True)
    data.update(query)
    return RunFilterForm(data, with_schedules=True)


def test_without_filters_all_runs_are_found() -> None:
    assert query_of() == RunQuery()
    assert not form().is_used


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"status": "failed"}, {"statuses": ("failed",)}),
        ({"status": "problem"}, {"statuses": PROBLEMS}),
        ({"status": "failure"}, {"statuses": FAILURES}),
        ({"job": "gone"}, {"jobs": ("gone",)}),
        ({"trigger": "admin"}, {"triggers": ("admin",)}),
        ({"time": "24h"}, {"since": NOON - timedelta(days=1)}),
        ({"from": "2026-02-01T10:30"}, {"since": datetime(2026, 2, 1, 10, 30, tzinfo=UTC)}),
        ({"to": "2026-02-01T10:30:00+02:00"}, {"until": datetime(2026, 2, 1, 8, 30, tzinfo=UTC)}),
        ({"time": "1h", "from": "2026-02-01T10:30"}, {"since": datetime(2026, 2, 1, 10, 30, tzinfo=UTC)}),
    ],
)
def test_a_parameter_becomes_a_filter(query: dict[str, str], expected: dict[str, Any]) -> None:
    assert query_of(**query) == RunQuery(**expected)


@pytest.mark.parametrize(
    "query",
    [
        {"status": "broken"},
        {"from": "soon"},
        {"time": "9y"},
        {"from": "0001-01-01T00:00:00+05:00"},
        {"to": "9999-12-31T23:59:59-05:00"},
        {"from": "0001-01-01T00:00"},
        {"job": "pro\x00be"},
    ],
)
def test_an_invalid_parameter_is_reported_and_ignored(query: dict[str, str]) -> None:
    given = form(**query)
    assert given.run_query(NOON) == RunQuery()
    assert given.errors


def test_a_time_with_an_offset_is_shown_in_local_time(settings: Any) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    assert 'value="2026-02-01T11:30:00"' in str(form(**{"from": "2026-02-01T10:30:00+00:00"})["since"])


def test_times_in_links_are_exact_although_fields_show_seconds() -> None:
    begin, end = NOON.replace(microsecond=123456), NOON.replace(microsecond=654321)
    given = form(**{"from": begin.isoformat(), "to": end.isoformat()})
    assert given.run_query(NOON) == RunQuery(since=begin, until=end)
    # If the form is submitted, the range is at least as wide as in the link.
    assert 'value="2026-03-01T12:00:00"' in str(given["since"])
    assert 'value="2026-03-01T12:00:01"' in str(given["until"])


def test_a_time_with_an_offset_is_unambiguous_in_a_repeated_hour(settings: Any) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    second = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    assert query_of(**{"from": second.isoformat()}).since == second


def test_runs_are_filtered_by_schedule_name() -> None:
    nightly = schedule("nightly")
    assert query_of(schedule="nightly").schedule_ids == (nightly.pk,)
    assert query_of(schedule="weekly").schedule_ids == ()


def test_search_matches_a_prefix_of_the_run_id() -> None:
    run = create_run()
    found = query_of(q=str(run.pk)[:10].upper())
    assert (found.ids, found.jobs) == ((run.pk,), None)


@pytest.mark.parametrize(("searched", "expected"), [("prob", "probe"), ("feed", "feed"), ("ab", "ab")])
def test_other_search_text_matches_job_names(searched: str, expected: str) -> None:
    found = query_of(q=searched)
    assert found.ids is None
    assert found.jobs is not None
    assert expected in found.jobs
    assert "nightly" not in found.jobs


def test_the_name_of_a_job_may_look_like_the_beginning_of_an_id(monkeypatch: pytest.MonkeyPatch) -> None:
    create_run(pk=UUID("feed0000-0000-4000-8000-000000000000"))
    assert query_of(q="feed").ids is not None
    jobs = {"feed": registry.find("probe"), "feed_readers": registry.find("probe")}
    monkeypatch.setattr(registry, "all_jobs", lambda: jobs)
    assert (query_of(q=" Feed ").ids, query_of(q="feed").jobs) == (None, ("feed", "feed_readers"))


def test_search_respects_the_job_filter() -> None:
    assert query_of(q="prob", job="probe").jobs == ("probe",)
    assert query_of(q="prob", job="nightly").jobs == ()


def test_the_job_choices_take_no_query(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    create_run(job="retired")
    with django_assert_num_queries(0):
        assert "retired" not in str(form()["job"])
        assert '<option value="retired" selected>' in str(form(job="retired")["job"])


def test_schedules_are_suggested_unless_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule("b")
    schedule("a")
    assert form().schedule_names == ["a", "b"]
    monkeypatch.setattr(listing, "MAX_SUGGESTIONS", 1)
    assert form().schedule_names == []


def test_schedule_names_are_hidden_from_users_without_permission(client: Client) -> None:
    user = User.objects.create_user("reader", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_run"))
    client.force_login(user)
    schedule("closing of the ledger")
    page = client.get(f"{reverse('admin:jobledger_run_changelist')}?schedule=weekly").text
    assert "closing of the ledger" not in page
    assert "There is no schedule" not in page


@pytest.mark.parametrize(
    ("query", "label", "expected"),
    [
        ({"status": "broken"}, "Status", "Valid values are: problem, failure, live, queued, "),
        (
            {"trigger": "x"},
            "Started by",
            "Valid values are: schedule, admin, api, celery, cli, cron, job, backfill, chain, task.",
        ),
        ({"time": "9y"}, "Queued", "Valid values are: 1h, 24h, 7d."),
        ({"from": "soon"}, "From", "such as 2026-12-01T03:00"),
        ({"from": "2026-02-02T00:00", "to": "2026-02-01T00:00"}, "To", "“To” must be later"),
    ],
)
def test_an_invalid_filter_is_reported_with_the_valid_values(
    query: dict[str, str], label: str, expected: str
) -> None:
    ((field, value, error),) = form(**query).ignored
    assert (field, value) == (label, list(query.values())[-1])
    assert expected in error


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"job": "retired"}, "There is no job named “retired”."),
        ({"schedule": "weekly"}, "There is no schedule named “weekly”."),
        ({"q": "ab"}, "(at least 4)"),
    ],
)
def test_hints_explain_why_nothing_matches(query: dict[str, str], expected: str) -> None:
    assert expected in " ".join(form(**query).hints)


def test_existing_names_and_possible_celery_tasks_have_no_hints() -> None:
    schedule("nightly")
    assert form(job="probe", schedule="nightly").hints == []
    assert form(job="billing.send").hints == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("status=broken&job=probe", "No runs match the other filters."),
        ("status=broken", "<strong>Status</strong> “broken”: Valid values are: problem, failure, live,"),
        (
            "status=broken&schedule=weekly",
            "No runs match the other filters. There is no schedule named",
        ),
        ("schedule=weekly", "No runs match. There is no schedule named “weekly”."),
    ],
)
def test_the_list_reports_invalid_filters_and_hints(admin_client: Client, query: str, expected: str) -> None:
    assert expected in admin_client.get(f"{reverse('admin:jobledger_run_changelist')}?{query}").text

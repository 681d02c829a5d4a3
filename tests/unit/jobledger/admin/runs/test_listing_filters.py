"""What is asked above the list is what is looked for."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.http import QueryDict
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import DjangoAssertNumQueries

from jobledger.admin.runs import listing
from jobledger.admin.runs.listing import RunFilterForm
from jobledger.admin.runs.search import RunQuery
from jobledger.models import FAILURES, PROBLEMS
from tests.unit.builders import NOON
from tests.unit.jobledger.admin.runs.ledger import made, schedule

pytestmark = pytest.mark.django_db


def asked(**query: str) -> RunQuery:
    return form(**query).run_query(NOON)


def form(**query: str) -> RunFilterForm:
    given = QueryDict(mutable=True)
    given.update(query)
    return RunFilterForm(given, with_schedules=True)


def test_nothing_asked_is_everything() -> None:
    assert asked() == RunQuery()
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
def test_an_answer_is_a_filter(query: dict[str, str], expected: dict[str, Any]) -> None:
    assert asked(**query) == RunQuery(**expected)


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
def test_an_answer_that_makes_no_sense_is_said_and_not_asked(query: dict[str, str]) -> None:
    given = form(**query)
    assert given.run_query(NOON) == RunQuery()
    assert given.errors


def test_a_moment_with_a_zone_is_shown_as_the_browser_wants_it(settings: Any) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    assert 'value="2026-02-01T11:30:00"' in str(form(**{"from": "2026-02-01T10:30:00+00:00"})["since"])


def test_the_times_of_a_link_are_exact_though_the_fields_show_seconds() -> None:
    begin, end = NOON.replace(microsecond=123456), NOON.replace(microsecond=654321)
    given = form(**{"from": begin.isoformat(), "to": end.isoformat()})
    assert given.run_query(NOON) == RunQuery(since=begin, until=end)
    # Sent from the form, they enclose what the link did.
    assert 'value="2026-03-01T12:00:00"' in str(given["since"])
    assert 'value="2026-03-01T12:00:01"' in str(given["until"])


def test_a_links_time_in_an_hour_that_comes_twice_is_the_one_that_it_names(settings: Any) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    second = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    assert asked(**{"from": second.isoformat()}).since == second


def test_a_schedule_is_named() -> None:
    nightly = schedule("nightly")
    assert asked(schedule="nightly").schedule_ids == (nightly.pk,)
    assert asked(schedule="weekly").schedule_ids == ()


def test_the_beginning_of_a_runs_id_is_searched() -> None:
    run = made()
    found = asked(q=str(run.pk)[:10].upper())
    assert (found.ids, found.jobs) == ((run.pk,), None)


@pytest.mark.parametrize(("searched", "expected"), [("prob", "probe"), ("feed", "feed"), ("ab", "ab")])
def test_what_begins_no_id_is_part_of_a_jobs_name(searched: str, expected: str) -> None:
    found = asked(q=searched)
    assert found.ids is None
    assert found.jobs is not None
    assert expected in found.jobs
    assert "nightly" not in found.jobs


def test_a_search_keeps_to_the_job_that_is_asked_for() -> None:
    assert asked(q="prob", job="probe").jobs == ("probe",)
    assert asked(q="prob", job="nightly").jobs == ()


def test_the_jobs_to_choose_from_take_no_look_at_the_runs(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    made(job="retired")
    with django_assert_num_queries(0):
        assert "retired" not in str(form()["job"])
        assert '<option value="retired" selected>' in str(form(job="retired")["job"])


def test_schedules_are_suggested_unless_they_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule("b")
    schedule("a")
    assert form().schedule_names == ["a", "b"]
    monkeypatch.setattr(listing, "MAX_SUGGESTIONS", 1)
    assert form().schedule_names == []


def test_a_user_who_may_not_see_schedules_is_not_told_which_there_are(client: Client) -> None:
    user = User.objects.create_user("reader", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_run"))
    client.force_login(user)
    schedule("closing of the ledger")
    page = client.get(f"{reverse('admin:jobledger_run_changelist')}?schedule=weekly").text
    assert "closing of the ledger" not in page
    assert "There is no schedule" not in page


@pytest.mark.parametrize(
    ("query", "label", "said"),
    [
        ({"status": "broken"}, "Status", "Valid values are: problem, failure, live, queued, "),
        ({"trigger": "cron"}, "Started by", "Valid values are: schedule, admin, celery, cli, job."),
        ({"time": "9y"}, "Queued", "Valid values are: 1h, 24h, 7d."),
        ({"from": "soon"}, "From", "such as 2026-12-01T03:00"),
        ({"from": "2026-02-02T00:00", "to": "2026-02-01T00:00"}, "To", "“To” must be later"),
    ],
)
def test_what_makes_no_sense_is_said_with_what_would(query: dict[str, str], label: str, said: str) -> None:
    ((found, given, text),) = form(**query).ignored
    assert (found, given) == (label, list(query.values())[-1])
    assert said in text


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"job": "retired"}, "There is no job called “retired”."),
        ({"schedule": "weekly"}, "There is no schedule called “weekly”."),
        ({"q": "ab"}, "(at least 4)"),
    ],
)
def test_what_is_asked_for_and_not_there_is_named(query: dict[str, str], said: str) -> None:
    assert said in " ".join(form(**query).hints)


def test_what_is_there_or_may_be_an_ordinary_task_needs_no_hint() -> None:
    schedule("nightly")
    assert form(job="probe", schedule="nightly").hints == []
    assert form(job="billing.send").hints == []


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("status=broken&job=probe", "No runs match the other filters."),
        ("status=broken", "<strong>Status</strong> “broken”: Valid values are: problem, failure, live,"),
        (
            "status=broken&schedule=weekly",
            "No runs match the other filters. There is no schedule called",
        ),
        ("schedule=weekly", "No runs match. There is no schedule called “weekly”."),
    ],
)
def test_the_list_tells_what_was_wrong_with_what_was_asked(
    admin_client: Client, query: str, said: str
) -> None:
    assert said in admin_client.get(f"{reverse('admin:jobledger_run_changelist')}?{query}").text
